"""Dependencies that depend on the machine; everything else stands in pyproject.toml.

mmcv-lite and full mmcv install the same package under two names, so a fixed requirement on mmcv-lite
would overwrite a full mmcv. It is asked for only where no mmcv is found.
"""

import os
import site
import sys
import sysconfig

from setuptools import setup

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def mmcv_is_installed() -> bool:
    # pip builds in an isolated environment, whose sys.path hides what the target environment holds.
    folders = {sysconfig.get_path('purelib'), sysconfig.get_path('platlib'), *site.getsitepackages()}
    if site.ENABLE_USER_SITE:
        folders.add(site.getusersitepackages())
    return any(os.path.isdir(os.path.join(folder, 'mmcv')) for folder in folders)


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'pyproject.toml'), 'rb') as file:
    table = tomllib.load(file)['tool']['featmap']

setup(install_requires=table['dependencies'] + ([] if mmcv_is_installed() else table['mmcv']))
