execute_process(COMMAND git -C "${SOURCE}" describe --always --dirty --abbrev=12 --exclude=*
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
    set(commit "unknown")
endif()
set(text "#include \"src/base/version.h\"\n\nconst char dtx_version[] = \"${VERSION}\";\nconst char dtx_commit[] = \"${commit}\";\n")
if(EXISTS "${OUT}")
    file(READ "${OUT}" old)
endif()
if(NOT "${old}" STREQUAL "${text}") # an unchanged file keeps its time, so nothing is rebuilt
    file(WRITE "${OUT}" "${text}")
endif()
