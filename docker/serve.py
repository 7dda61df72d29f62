"""The entry point of a service's image: run services.<RECMESH_SERVICE>, which the image sets when it is built."""

import os
import runpy

runpy.run_module(f"services.{os.environ['RECMESH_SERVICE']}", run_name="__main__")
