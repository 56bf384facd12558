# Restyle at will and run again in this folder: gnuplot FILE.gp. What stands above was written by `detoxlens report`.
palette = "#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #806000 #606060"
color(i) = word(palette, (i - 1) % words(palette) + 1)
of(i) = stringcolumn(1) eq word(variants, i) && column(3) >= least

set datafile separator ","
set border 3 linecolor rgb "#808080"
set tics nomirror scale 0.6 textcolor rgb "#505050"
set grid ytics linetype 1 linecolor rgb "#E0E0E0"
set key at graph 1, graph 1.13 right horizontal samplen 1.6 textcolor rgb "#303030"
set xlabel xname offset 0, 0.3 textcolor rgb "#505050"
set xrange [0:last]

do for [format in "svg pdf"] {
    if (format eq "svg") {
        set terminal svg size 960, 360 dynamic enhanced font "Helvetica,13"
    } else {
        set terminal pdfcairo size 24cm, 9cm enhanced font "Helvetica,11"
    }
    set output name.".".format
    set multiplot layout 1, 2 margins 0.06, 0.985, 0.17, 0.86 spacing 0.085, 0
    do for [panel = 1:2] {
        file = word(files, panel)
        set label 1 (panel == 1 ? "Entropy over the prompt (bits)" : "Prompt dependence") at graph 0, graph 1.1 left \
            font ",14" textcolor rgb "#202020"
        plot for [i = 1:words(variants)] file every ::1 using 2:(of(i) ? $5 : NaN):6 with filledcurves \
                 fillcolor rgb color(i) fillstyle transparent solid 0.2 noborder notitle, \
             for [i = 1:words(variants)] file every ::1 using (of(i) ? $2 : NaN):4 with lines linewidth 2 \
                 linecolor rgb color(i) title word(variants, i)
    }
    unset multiplot
    unset output
}
