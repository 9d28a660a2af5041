# syntax=docker/dockerfile:1
# Recollect in an image: built with everything, run with the least. No torch, no shell scripts, no root, no cache.

ARG PYTHON=3.12-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Torch is needed to convert the model once and is taken out again, so the small build for processors will do.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE ./
COPY adapters adapters
COPY embeddings embeddings
COPY service service
RUN python -m venv /opt/recollect \
 && /opt/recollect/bin/pip install --extra-index-url "${TORCH_INDEX}" --constraint constraints.txt ".[qdrant]"
RUN /opt/recollect/bin/python -m recollect.embeddings.prepare /opt/recollect/cache
# What only the conversion needed. A model other than the bundled one needs it too: build with TORCH=keep.
ARG TORCH=remove
RUN if [ "${TORCH}" = remove ]; then \
      /opt/recollect/bin/pip uninstall --yes \
        torch sentence-transformers transformers scikit-learn scipy sympy networkx mpmath safetensors; \
    fi \
 && /opt/recollect/bin/pip uninstall --yes pip \
 && find /opt/recollect -name __pycache__ -type d -prune -exec rm -rf {} +

FROM python:${PYTHON}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin recollect \
 && install --directory --owner recollect --group recollect --mode 0700 /data
COPY --from=build /opt/recollect /opt/recollect
# Python's own cache of bytecode would be written beside the code, which is not the user's to change.
ENV PATH=/opt/recollect/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    RECOLLECT_STORAGE=edge:/data/store \
    RECOLLECT_CACHE_FOLDER=/opt/recollect/cache \
    RECOLLECT_HOST=0.0.0.0 \
    RECOLLECT_PORT=8300 \
    RECOLLECT_LOG_FORMAT=json
USER 10001:10001
VOLUME /data
EXPOSE 8300
# As long as a stop may take: a container is killed 10 s after it was told to stop.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['RECOLLECT_PORT']}/readyz\", timeout=4)"]
CMD ["recollect", "serve"]
