# What is installed beside the program: manual pages made from the program's own help, bash completion; and the Debian package
# (cpack -G DEB in the build folder).
set(DTX_MANUALS "${PROJECT_BINARY_DIR}/manuals")
add_custom_command(OUTPUT "${DTX_MANUALS}/stamp"
    COMMAND "${CMAKE_COMMAND}" -E env ASAN_OPTIONS=detect_leaks=0 "${CMAKE_COMMAND}" -DPROGRAM=$<TARGET_FILE:detoxlens> -DVERSION=${PROJECT_VERSION} -DOUT=${DTX_MANUALS}
            -P "${PROJECT_SOURCE_DIR}/cmake/WriteManuals.cmake"
    DEPENDS detoxlens "${PROJECT_SOURCE_DIR}/cmake/WriteManuals.cmake" VERBATIM)
add_custom_target(manuals ALL DEPENDS "${DTX_MANUALS}/stamp")
install(DIRECTORY "${DTX_MANUALS}/" DESTINATION "${CMAKE_INSTALL_MANDIR}/man1" FILES_MATCHING PATTERN "*.1")
install(FILES packaging/detoxlens.bash DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" RENAME detoxlens)

set(CPACK_PACKAGE_NAME detoxlens)
set(CPACK_PACKAGE_VENDOR detoxlens)
set(CPACK_PACKAGE_CONTACT "detoxlens <detoxlens@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_GENERATOR DEB)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "openmpi-bin, libopenblas0-openmp") # the libraries are added by dpkg-shlibdeps
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "gnuplot-nox")
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
include(CPack)
