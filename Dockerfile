# avser for prediction, on the CPU.
#
#   docker build -t avser .
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" avser predict talk.mp4 -o results
#
# By default pip takes torch with CUDA, which is large. An index that has the CPU build makes a small image:
#   docker build -t avser --build-arg PIP_EXTRA_INDEX_URL=URL .
FROM python:3.11-slim AS build
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY . .
RUN python -m venv /opt/avser && /opt/avser/bin/pip install .

FROM python:3.11-slim
# what OpenCV's windows link to, though none is opened
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 avser
COPY --from=build /opt/avser /opt/avser
ENV PATH=/opt/avser/bin:$PATH PYTHONUNBUFFERED=1 AVSER_CACHE=/tmp/avser
USER 1000
WORKDIR /data
ENTRYPOINT ["avser"]
CMD ["--help"]
