# The report's page, style, script and gnuplot script become C arrays, so that the program is one file.
file(GLOB DTX_REPORT_FILES CONFIGURE_DEPENDS jobs/report/*.html jobs/report/*.css jobs/report/*.js jobs/report/*.gp)
set(DTX_REPORT_ASSETS "${PROJECT_BINARY_DIR}/report_assets.c")
add_custom_command(OUTPUT "${DTX_REPORT_ASSETS}"
    COMMAND ${CMAKE_COMMAND} -DOUT=${DTX_REPORT_ASSETS} -DHEADER=jobs/report/output.h -DFUNCTION=dtx_report_asset
            -P ${PROJECT_SOURCE_DIR}/cmake/WriteAssets.cmake -- ${DTX_REPORT_FILES}
    DEPENDS ${DTX_REPORT_FILES} cmake/WriteAssets.cmake COMMENT "Embedding jobs/report" VERBATIM)
