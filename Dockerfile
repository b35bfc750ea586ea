# The line in one image. Models on a GPU need the NVIDIA container runtime and `gpus: all` in docker-compose.yml.
FROM python:3.12-slim-trixie AS build
# EXTRAS=demo adds the solar cells of the demo line (CC BY-NC-SA 4.0: not for commercial use).
# PIP_EXTRA_INDEX_URL lets a plant take packages from its own mirror, or torch in its smaller CPU build.
ARG EXTRAS=""
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /source
COPY . .
RUN python -m venv /opt/adline \
    && /opt/adline/bin/pip install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}"

FROM python:3.12-slim-trixie
# OpenCV's wheel links against these two.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home adline \
    && install --directory --owner adline --group adline /line /var/lib/adline
COPY --from=build /opt/adline /opt/adline
ENV PATH=/opt/adline/bin:$PATH ADLINE_HOME=/var/lib/adline PYTHONUNBUFFERED=1
USER adline
WORKDIR /line
VOLUME /var/lib/adline
EXPOSE 8000
# SIGTERM lets the line finish the parts it has captured.
STOPSIGNAL SIGTERM
ENTRYPOINT ["adline"]
CMD ["start"]
