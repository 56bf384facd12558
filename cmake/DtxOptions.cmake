# Language level, warnings, sanitizers. Everything hangs on the interface target dtx_flags.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # POSIX and GNU functions
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O3 -g1" CACHE STRING "" FORCE)

option(DTX_WERROR "Warnings are errors (preset dev)" OFF)
set(DTX_SANITIZE "" CACHE STRING "address,undefined | thread | empty")

add_library(dtx_flags INTERFACE)
target_compile_definitions(dtx_flags INTERFACE _GNU_SOURCE)
# No -ffast-math: it changes NaN and softmax behaviour. Contraction to FMA stays on, it is the same on all rank counts.
target_compile_options(dtx_flags INTERFACE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
                       -Wcast-qual -Wwrite-strings -Wvla -Wformat=2 -fno-math-errno -fno-trapping-math)
if(DTX_WERROR)
    target_compile_options(dtx_flags INTERFACE -Werror)
endif()
if(DTX_SANITIZE)
    target_compile_options(dtx_flags INTERFACE -fsanitize=${DTX_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_compile_definitions(dtx_flags INTERFACE DTX_SANITIZED)
    target_link_options(dtx_flags INTERFACE -fsanitize=${DTX_SANITIZE})
endif()

# dtx_target_pragmas(source...): clang does not know `#pragma GCC target("avx2,fma")`, by which the files of the linear kernels
# choose their instruction sets; there the same words become options of the file.
function(dtx_target_pragmas)
    if(NOT CMAKE_C_COMPILER_ID MATCHES Clang)
        return()
    endif()
    foreach(source ${ARGN})
        file(STRINGS "${source}" pragma LIMIT_COUNT 1 REGEX "^#pragma GCC target")
        if(pragma MATCHES "\"(.*)\"")
            string(REPLACE "," ";-m" features "-m${CMAKE_MATCH_1}")
            set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS "${features};-Wno-unknown-pragmas")
        endif()
    endforeach()
endfunction()
