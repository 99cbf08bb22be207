# Images of the service and of its training. docs/containers.md says how they are built, run and were tried.
#
#   docker build -t ds-lora-service .                             the service on CPUs
#   docker build -t ds-lora-service:cuda --target cuda .          the service on NVIDIA GPUs
#   docker build -t ds-lora-training --target training .          dslora train, evaluate, export
#
# Bases are named by their full version: it says what one gets, is the same for every platform, and is not built anew for
# another version. Whoever must have the same bytes for ever pins its digest (`FROM name:tag@sha256:…`) at a mirror.
# Node is the version of the dev dependency `node`, on which all tests run; a test holds the two together.

# ---------------------------------------------------------------------------------------------------------------------
# Everything that goes into images of the service, laid out by layers below /out.
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /build
# What changes seldom comes first, so that the packages are installed again only when their lock changes.
COPY package.json package-lock.json .npmrc ./
COPY clients/typescript/package.json clients/typescript/
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY LICENSE ./
COPY scripts/image scripts/image
COPY models models
COPY policies policies
COPY src src
# Seconds since 1970, for all files and the SBOM. The time of the commit makes builds of it equal.
ARG SOURCE_DATE_EPOCH=0
RUN node scripts/image/assemble.ts /out \
 && mkdir /app \
 && cp -a /out/modules/app/. /out/models/app/. /out/service/app/. /app/ \
 && node scripts/image/compile.ts /app /out/compiled/app/.compiled 65532 \
 && rm -r /app

# ---------------------------------------------------------------------------------------------------------------------
# Node, the seven libraries that it loads, and the service. There is no shell and no package manager to be misused.
FROM scratch AS cpu
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ds-lora-service" \
      org.opencontainers.image.description="Serves DS-LoRA classifiers of offensive posts on CPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/runtime/ /
COPY --from=build /out/modules/ /
COPY --from=build /out/models/ /
COPY --from=build /out/service/ /
COPY --from=build /out/compiled/ /
ENV NODE_ENV=production \
    HOME=/home/nonroot \
    MALLOC_ARENA_MAX=1 \
    PATH=/usr/local/bin \
    NODE_COMPILE_CACHE=/app/.compiled \
    EXECUTION_PROVIDER=cpu
WORKDIR /app
# A number, because Kubernetes cannot tell from a name that it is not root. Any other number works too.
USER 65532:65532
EXPOSE 8080
# While models load nothing listens yet. `docker ps` shows liveness; Compose and Kubernetes also ask for readiness.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "src/cli/health.ts", "live"]
# Arguments replace the service by another command: `docker run … src/cli/classify.ts …`.
ENTRYPOINT ["node"]
CMD ["src/main.ts"]

# ---------------------------------------------------------------------------------------------------------------------
# The two libraries that let onnxruntime-node use CUDA, out of the Python wheel of the same version.
FROM python:3.11.14-slim-bookworm AS cuda-provider
WORKDIR /build
COPY scripts/image/onnxruntime-gpu.lock ./
# The file alone is wanted: nothing is installed or run. Which Python it is for makes no difference to the libraries.
RUN pip download --no-cache-dir --no-deps --require-hashes --only-binary=:all: --python-version 3.12 \
      --platform manylinux_2_28_x86_64 --dest wheel -r onnxruntime-gpu.lock \
 && python -m zipfile -e wheel/*.whl unpacked \
 && mkdir /out \
 && mv unpacked/onnxruntime/capi/libonnxruntime_providers_cuda.so \
       unpacked/onnxruntime/capi/libonnxruntime_providers_shared.so /out/ \
 && chmod 755 /out/*.so \
 && rm -r wheel unpacked

FROM nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04 AS cuda
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ds-lora-service" \
      org.opencontainers.image.description="Serves DS-LoRA classifiers of offensive posts on NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/runtime/usr/local/bin/node /usr/local/bin/node
COPY --from=cuda-provider /out/ /app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64/
COPY --from=build /out/modules/ /
COPY --from=build /out/models/ /
COPY --from=build /out/service/ /
COPY --from=build /out/compiled/ /
# `cuda` instead of `auto`: a GPU image that falls back to the CPU unnoticed would be slow for no visible reason.
ENV NODE_ENV=production \
    HOME=/tmp \
    MALLOC_ARENA_MAX=1 \
    NODE_COMPILE_CACHE=/app/.compiled \
    EXECUTION_PROVIDER=cuda
WORKDIR /app
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["node", "src/cli/health.ts", "live"]
ENTRYPOINT ["node"]
CMD ["src/main.ts"]

# ---------------------------------------------------------------------------------------------------------------------
# The training package in an environment made from its lock, tests and linters left out.
FROM python:3.11.14-slim-bookworm AS training-build
WORKDIR /build/training
COPY training/requirements-bootstrap.lock training/requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --target /tools -r requirements-bootstrap.lock \
 && python -m venv --without-pip /opt/dslora \
 && /tools/bin/uv pip sync --no-cache --require-hashes --python /opt/dslora/bin/python requirements.lock
COPY training/pyproject.toml training/README.md ./
COPY training/src src
# The bundle's schema has one source, the service's.
COPY src/bundle/manifest.schema.json /build/src/bundle/
RUN /tools/bin/uv pip install --no-cache --no-deps --no-build-isolation --python /opt/dslora/bin/python . \
 && /tools/bin/uv pip uninstall --python /opt/dslora/bin/python pytest ruff mypy hatchling editables

FROM python:3.11.14-slim-bookworm AS training
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ds-lora-training" \
      org.opencontainers.image.description="Trains, evaluates and exports DS-LoRA classifiers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=training-build /opt/dslora /opt/dslora
# The root file system may be read-only: what libraries keep goes to /tmp, runs and bundles to volumes.
ENV PATH=/opt/dslora/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    HF_HOME=/tmp/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
USER 65532:65532
# A command that ends by itself.
HEALTHCHECK NONE
ENTRYPOINT ["dslora"]
CMD ["--help"]

# ---------------------------------------------------------------------------------------------------------------------
# What is built when no target is named.
FROM cpu
