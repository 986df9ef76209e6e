# The image of regfs, for the volume of a registry's container:
#
#     docker build -t regfs/regfs .
#     docker run --rm --volumes-from registry:ro regfs/regfs du
#
# BASE is any image with Python 3.11 or later and its venv, both stages from the same one: what
# is built in the first looks for Python at the same path in the second.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
COPY . /src
# Only the installed environment goes on: no pip, no cache, no tests of libraries. The user below
# may not write beside the modules, so they are compiled here.
RUN python3 -m venv /opt/regfs \
 && /opt/regfs/bin/pip install --no-cache-dir --no-compile '/src[serve,bucket,browse]' \
 && /opt/regfs/bin/pip uninstall --yes --quiet pip setuptools \
 && find /opt/regfs -depth -type d -name tests -exec rm -r {} + \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/regfs/lib

FROM ${BASE}
LABEL org.opencontainers.image.title="regfs" \
      org.opencontainers.image.description="Look into, check and clean the disk of a Docker/OCI registry" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/regfs /opt/regfs
ENV PATH=/opt/regfs/bin:${PATH} \
    REGFS_ROOT=/var/lib/registry
# Registries write as root what everybody may read. To collect, give --user 0.
USER 65532:65532
ENTRYPOINT ["regfs"]
CMD ["info"]
