# The node in the building: one image, two programs (innkeeper-edge run, innkeeper-edge doors).
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
COPY requirements/edge.txt requirements/edge.txt
RUN python3 -m venv /opt/innkeeper \
 && /opt/innkeeper/bin/pip install --no-cache-dir --require-hashes -r requirements/edge.txt
COPY pyproject.toml README.md LICENSE ./
COPY protocols protocols
COPY kit kit
COPY firmware_bridges firmware_bridges
COPY edge edge
COPY --from=pages /src/edge/web/dist edge/web/dist
RUN /opt/innkeeper/bin/pip install --no-cache-dir --no-deps . \
 && rm -f /opt/innkeeper/bin/innkeeper /opt/innkeeper/bin/innkeeper-cloud

FROM ${BASE}
RUN useradd --system --uid 10001 --home-dir /var/lib/innkeeper --create-home innkeeper \
 && install -d -o innkeeper -g innkeeper /run/innkeeper
COPY --from=build /opt/innkeeper /opt/innkeeper
USER innkeeper
ENV PATH=/opt/innkeeper/bin:$PATH PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=2
VOLUME ["/var/lib/innkeeper", "/run/innkeeper"]
ENTRYPOINT ["innkeeper-edge"]
CMD ["run", "--config", "/etc/innkeeper/edge.toml"]
