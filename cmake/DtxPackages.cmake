# Every library the project stands on. A missing one stops the configuration with the Debian package to install.
function(dtx_need found package)
    if(NOT ${found})
        message(FATAL_ERROR "${ARGN} not found.\n  Debian: apt-get install ${package}\n  (./jobs/quickstart.sh installs all of them)")
    endif()
endfunction()

find_package(Threads REQUIRED)
find_package(PkgConfig)
dtx_need(PKG_CONFIG_FOUND pkg-config "pkg-config")
find_package(OpenMP COMPONENTS C)
dtx_need(OpenMP_C_FOUND gcc "OpenMP for C")
find_package(MPI COMPONENTS C)
dtx_need(MPI_C_FOUND "libopenmpi-dev openmpi-bin" "MPI")

set(HDF5_PREFER_PARALLEL TRUE)
find_package(HDF5 COMPONENTS C HL) # HL: dimension scales
dtx_need(HDF5_FOUND libhdf5-openmpi-dev "HDF5")
dtx_need(HDF5_IS_PARALLEL libhdf5-openmpi-dev "A parallel HDF5 (the one found is serial)")

find_package(cJSON CONFIG QUIET)
dtx_need(cJSON_FOUND libcjson-dev "cJSON")
pkg_check_modules(PCRE2 IMPORTED_TARGET libpcre2-8)
dtx_need(PCRE2_FOUND libpcre2-dev "PCRE2")
pkg_check_modules(UTF8PROC IMPORTED_TARGET libutf8proc)
dtx_need(UTF8PROC_FOUND libutf8proc-dev "utf8proc")
find_package(OpenSSL COMPONENTS Crypto)
dtx_need(OPENSSL_FOUND libssl-dev "OpenSSL's libcrypto (SHA-256)")
find_package(CURL QUIET)
dtx_need(CURL_FOUND libcurl4-openssl-dev "libcurl")
find_path(RANDOM123_INCLUDE Random123/philox.h)
dtx_need(RANDOM123_INCLUDE librandom123-dev "Random123")

find_path(CSV_INCLUDE csv.h)
find_library(CSV_LIBRARY csv)
dtx_need(CSV_LIBRARY libcsv-dev "libcsv")
add_library(dtx::csv UNKNOWN IMPORTED)
set_target_properties(dtx::csv PROPERTIES IMPORTED_LOCATION "${CSV_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${CSV_INCLUDE}")

# OpenBLAS: the OpenMP variant. On Debian which variant a program loads is decided at run time by an alternative, so its
# own folder is linked with an RPATH; elsewhere the library that CMake finds is taken, and the program says at start
# when that one is threaded by pthreads.
find_library(DTX_OPENBLAS NAMES openblas PATHS /usr/lib/${CMAKE_C_LIBRARY_ARCHITECTURE}/openblas-openmp
             NO_DEFAULT_PATH)
if(NOT DTX_OPENBLAS)
    find_library(DTX_OPENBLAS NAMES openblas PATHS ENV OPENBLAS_ROOT PATH_SUFFIXES lib lib64)
endif()
dtx_need(DTX_OPENBLAS libopenblas-openmp-dev "OpenBLAS")
get_filename_component(DTX_OPENBLAS_DIR "${DTX_OPENBLAS}" DIRECTORY)
find_path(DTX_CBLAS_INCLUDE cblas.h HINTS "${DTX_OPENBLAS_DIR}/../include" "${DTX_OPENBLAS_DIR}/include"
          PATHS /usr/include/${CMAKE_C_LIBRARY_ARCHITECTURE}/openblas-openmp /usr/include/${CMAKE_C_LIBRARY_ARCHITECTURE}
          PATH_SUFFIXES openblas)
dtx_need(DTX_CBLAS_INCLUDE libopenblas-openmp-dev "cblas.h")
add_library(dtx::openblas UNKNOWN IMPORTED)
set_target_properties(dtx::openblas PROPERTIES IMPORTED_LOCATION "${DTX_OPENBLAS}"
                      INTERFACE_INCLUDE_DIRECTORIES "${DTX_CBLAS_INCLUDE}")
set(CMAKE_BUILD_RPATH "${DTX_OPENBLAS_DIR}")
set(CMAKE_INSTALL_RPATH "${DTX_OPENBLAS_DIR}")

# tests only
find_package(cmocka CONFIG QUIET)
