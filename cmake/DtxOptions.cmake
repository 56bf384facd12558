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
set(DTX_SANITIZE "" CACHE STRING "address | undefined | empty")

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
    target_link_options(dtx_flags INTERFACE -fsanitize=${DTX_SANITIZE})
endif()
