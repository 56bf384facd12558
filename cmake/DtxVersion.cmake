# The version stands in project() alone; the commit is read at build time, "-dirty" when the tree differs from it.
set(DTX_VERSION_SOURCE "${PROJECT_BINARY_DIR}/version.c")
add_custom_target(dtx_version BYPRODUCTS "${DTX_VERSION_SOURCE}"
    COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DVERSION=${PROJECT_VERSION} -DOUT=${DTX_VERSION_SOURCE}
            -P ${PROJECT_SOURCE_DIR}/cmake/WriteVersion.cmake
    COMMENT "" VERBATIM)
set_source_files_properties("${DTX_VERSION_SOURCE}" PROPERTIES GENERATED TRUE)
