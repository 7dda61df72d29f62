"""The entry point of a service's image: runs services.<RECMESH_SERVICE>, which is set when the image is built."""

import os
import runpy

runpy.run_module(f"services.{os.environ['RECMESH_SERVICE']}", run_name="__main__")
