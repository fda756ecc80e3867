# The training image: prepare, evaluate, the built-in recipes, and the base of a trainer of your own. Context: the repository's root.
#   docker build -f serving/training.Dockerfile --build-arg BASE_IMAGE=perennial/runtime -t perennial/training .
# BASE_IMAGE is the runtime image. The packages are built on PYTHON_IMAGE (what the runtime image was built on), because they
# would be built again after every change of our code if they started from the image that holds it.
ARG BASE_IMAGE=perennial/runtime
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG SSL_CERT_FILE
WORKDIR /build
RUN python3 -m pip install --quiet --no-cache-dir --root-user-action=ignore uv==0.13.9
COPY pyproject.toml uv.lock ./
# only what the runtime image does not have yet: one lock, so what both need has one version
RUN lock="python3 -m uv export --quiet --frozen --no-dev --no-emit-project --no-annotate --no-header" \
 && $lock --no-hashes --extra runtime | sed 's/[=; ].*//; s/^/--no-emit-package /' > runtime.txt \
 && $lock $(cat runtime.txt) --extra training --output-file requirements.txt \
 && python3 -m pip install --quiet --no-cache-dir --root-user-action=ignore --no-deps --require-hashes --no-compile \
      --target /app/training --requirement requirements.txt \
 && rm -rf /app/training/bin /app/training/pyarrow/include /app/training/pyarrow/src \
 && find /app/training -depth -type d -name tests -exec rm -rf {} + \
 && find /app/training -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.cc' -o -name '*.h' \) -delete \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /app/training

FROM ${BASE_IMAGE}
COPY --from=packages /app/training /app/training
ENV PYTHONPATH=/app:/app/packages:/app/training
