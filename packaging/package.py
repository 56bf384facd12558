# Spack recipe. As a repository of one's own:
#   spack repo create my-repo && mkdir -p my-repo/packages/detoxlens && cp packaging/package.py my-repo/packages/detoxlens/
#   spack repo add my-repo && spack dev-build --source-path . detoxlens@main
from spack.package import *


class Detoxlens(CMakePackage):
    """Detoxifies language models and shows what their answers depend on, over MPI ranks, into one HDF5 file."""

    license("Apache-2.0")

    version("main")

    depends_on("c", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi")
    depends_on("hdf5@1.10.7:+mpi+hl")
    depends_on("openblas threads=openmp")
    depends_on("cjson")
    depends_on("pcre2")
    depends_on("utf8proc")
    depends_on("libcsv")
    depends_on("random123")
    depends_on("openssl")
    depends_on("curl")
    depends_on("gnuplot", type="run")

    def cmake_args(self):
        return [self.define("BUILD_TESTING", False)]
