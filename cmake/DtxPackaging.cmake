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

# README without what only the sources have, and beside it all that it names: texts as files, data and scripts as links to where
# they are installed.
set(DTX_README "${PROJECT_BINARY_DIR}/installed/README.md")
add_custom_command(OUTPUT "${DTX_README}"
    COMMAND "${CMAKE_COMMAND}" -DIN=${PROJECT_SOURCE_DIR}/README.md -DOUT=${DTX_README}
            -P "${PROJECT_SOURCE_DIR}/cmake/InstallReadme.cmake"
    DEPENDS "${PROJECT_SOURCE_DIR}/README.md" "${PROJECT_SOURCE_DIR}/cmake/InstallReadme.cmake" VERBATIM)
add_custom_target(installed_readme ALL DEPENDS "${DTX_README}")
install(FILES "${DTX_README}" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
foreach(text data/README.md docs/report-files.md jobs/ERRORS.md mpi/README.md)
    get_filename_component(folder "${text}" DIRECTORY)
    install(FILES "${PROJECT_SOURCE_DIR}/${text}" DESTINATION "${CMAKE_INSTALL_DOCDIR}/${folder}")
endforeach()
foreach(link data/analysis data/configs data/quickstart slurm)
    get_filename_component(folder "${link}" DIRECTORY)
    get_filename_component(name "${link}" NAME)
    file(RELATIVE_PATH target "/${CMAKE_INSTALL_DOCDIR}/${folder}" "/${CMAKE_INSTALL_DATADIR}/detoxlens/${name}")
    install(CODE "file(MAKE_DIRECTORY \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DOCDIR}/${folder}\")
                  file(CREATE_LINK \"${target}\" \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DOCDIR}/${link}\" SYMBOLIC)")
endforeach()

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
