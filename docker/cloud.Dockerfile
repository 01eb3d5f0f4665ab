# The cloud service: one image, its programs by argument (run, ingest, migrate, verify ...).
# The bases can be swapped where no image registry is reached.
ARG BASE=python:3.13-slim-bookworm
ARG NODE_BASE=node:24-bookworm-slim
FROM ${NODE_BASE} AS pages
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
COPY web web
RUN python3 web/build.py

FROM ${BASE} AS build
WORKDIR /src
COPY requirements/cloud.txt requirements/cloud.txt
RUN python3 -m venv /opt/innkeeper \
 && /opt/innkeeper/bin/pip install --no-cache-dir --require-hashes -r requirements/cloud.txt
COPY pyproject.toml README.md LICENSE ./
COPY protocols protocols
COPY kit kit
COPY cloud cloud
COPY --from=pages /src/cloud/web/dist cloud/web/dist
RUN /opt/innkeeper/bin/pip install --no-cache-dir --no-deps . \
 && rm -f /opt/innkeeper/bin/innkeeper /opt/innkeeper/bin/innkeeper-edge

FROM ${BASE}
RUN useradd --system --uid 10002 --home-dir /var/lib/innkeeper --create-home innkeeper
COPY --from=build /opt/innkeeper /opt/innkeeper
USER innkeeper
ENV PATH=/opt/innkeeper/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["innkeeper-cloud"]
CMD ["run", "--config", "/etc/innkeeper/cloud.toml"]
