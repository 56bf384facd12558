# Restyle at will and run again in this folder: gnuplot FILE.gp. What stands above was written by `detoxlens report`.
# Columns of the file: measure, group, series, step, n, mean, ci_low, ci_high.
palette = "#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #806000 #606060"
color(i) = word(palette, (i - 1) % words(palette) + 1)
of(p, i) = strcol(1) eq measure[p] && strcol(2) eq group[p] && strcol(3) eq series[i] && column(5) >= least[p]
rows = (|measure| + columns - 1) / columns

set datafile separator ","
set datafile missing NaN # an empty bin does not break a line
set border 3 linecolor rgb "#808080"
set tics nomirror scale 0.6 textcolor rgb "#505050"
set ytics autofreq
set grid ytics linetype 1 linecolor rgb "#E0E0E0"
set xlabel xname offset 0, 0.3 textcolor rgb "#505050"
set xrange [start:last]
if (zero) { set arrow 1 from graph 0, first 0 to graph 1, first 0 nohead linewidth 1 linecolor rgb "#808080" }

if (!exists("svg")) { svg = name.".svg"; pdf = name.".pdf" }
do for [format in "svg pdf"] {
    if (format eq "svg") {
        set terminal svg size 980, 40 + 310 * rows dynamic noenhanced font "Helvetica,13"
    } else {
        set terminal pdfcairo size 24.5cm, (1 + 7.75 * rows) * 1cm noenhanced font "Helvetica,11"
    }
    set output format eq "svg" ? svg : pdf
    set multiplot layout rows, columns margins char 7, char 2, char 3.4, char 3.8 spacing char 9, char 6.4
    do for [p = 1:|measure|] {
        set yrange [ylow[p]:yhigh[p]]
        set label 1 title[p] at graph 0, graph 1.07 left font ",13" textcolor rgb "#202020"
        if (p == 1) {
            set key at screen 0.985, screen 0.995 right top horizontal samplen 1.6 textcolor rgb "#303030"
        } else {
            unset key
        }
        plot for [i = 1:|series|] file every ::1 using (of(p, i) ? column(4) : NaN):7:8 with filledcurves \
                 fillcolor rgb color(i) fillstyle transparent solid 0.2 noborder notitle, \
             for [i = 1:|series|] file every ::1 using (of(p, i) ? column(4) : NaN):6 with lines linewidth 2 \
                 linecolor rgb color(i) notitle, \
             for [i = 1:|series|] NaN with lines linewidth 2 linecolor rgb color(i) title series[i]
    }
    unset multiplot
    unset output
}
