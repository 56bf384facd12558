# cmake -DPROGRAM=detoxlens -DVERSION=... -DOUT=DIR -P WriteManuals.cmake: a manual page for each job, DIR/detoxlens-JOB.1, from
# the job's own --help, so that there is one text of each.
execute_process(COMMAND "${PROGRAM}" --help OUTPUT_VARIABLE all RESULT_VARIABLE rc)
if(NOT rc EQUAL 0)
    message(FATAL_ERROR "${PROGRAM} --help ended with ${rc}")
endif()
string(REGEX REPLACE "[][;]" " " flat "${all}") # characters that CMake's lists would take amiss
string(REGEX MATCHALL "\n  [a-z]+ +[* ] [^\n]*" lines "${flat}")
file(MAKE_DIRECTORY "${OUT}")
foreach(line IN LISTS lines)
    string(REGEX MATCH "[a-z]+" job "${line}")
    execute_process(COMMAND "${PROGRAM}" "${job}" --help OUTPUT_VARIABLE help RESULT_VARIABLE rc)
    if(NOT rc EQUAL 0)
        message(FATAL_ERROR "${PROGRAM} ${job} --help ended with ${rc}")
    endif()
    string(REGEX MATCH "^[^\n]*" title "${help}")
    string(REGEX REPLACE "^[^:]*: " "" title "${title}")
    string(REPLACE "\\" "\\e" help "${help}")
    string(REPLACE "-" "\\-" help "${help}")
    string(REGEX REPLACE "\n([.'])" "\n\\\\&\\1" help "${help}")
    string(TOUPPER "${job}" upper)
    file(WRITE "${OUT}/detoxlens-${job}.1"
         ".TH DETOXLENS\\-${upper} 1 \"\" \"detoxlens ${VERSION}\" \"User Commands\"\n.SH NAME\ndetoxlens\\-${job} \\- ${title}\n"
         ".SH DESCRIPTION\n.nf\n${help}.fi\n.SH SEE ALSO\n.BR detoxlens (1)\n")
endforeach()
file(WRITE "${OUT}/stamp" "")
