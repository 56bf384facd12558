# Restyle at will and run again in this folder: gnuplot FILE.gp. What stands above was written by `detoxlens report`.
n = words(curves)
columns = n < 3 ? n : 3
lines = (n + columns - 1) / columns

set datafile separator ","
set border 3 linecolor rgb "#808080"
set tics nomirror scale 0.6 textcolor rgb "#505050"
set ytics font ",10"
set format y "%g"
set grid ytics linetype 1 linecolor rgb "#E0E0E0"
set xlabel "step" offset 0, 0.4 textcolor rgb "#505050"
unset key

if (!exists("svg")) { svg = name.".svg"; pdf = name.".pdf" }
do for [format in "svg pdf"] {
    if (format eq "svg") {
        set terminal svg size 320 * columns, 230 * lines dynamic noenhanced font "Helvetica,12"
    } else {
        set terminal pdfcairo size 3.2 * columns, 2.4 * lines noenhanced font "Helvetica,9"
    }
    set output format eq "svg" ? svg : pdf
    set multiplot layout lines, columns margins char 7.5, char 2.5, char 3.4, char 2.4 spacing char 9, char 6
    do for [i = 1:n] {
        set label 1 word(curves, i) at graph 0, graph 1.09 left textcolor rgb "#202020"
        plot file every ::1 using 1:int(word(at, i)) with lines linewidth 1.6 linecolor rgb "#0072B2", \
             file every ::1 using 1:int(word(at, i)) with points pointtype 7 pointsize word(dense, i) + 0 linecolor rgb "#0072B2"
    }
    unset multiplot
    unset output
}
