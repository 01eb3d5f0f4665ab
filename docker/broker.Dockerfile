# The site broker: Mosquitto from the distribution, configured by a mounted file.
ARG BASE=debian:12-slim
FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends mosquitto mosquitto-clients \
 && rm -rf /var/lib/apt/lists/*
USER mosquitto
EXPOSE 8883
ENTRYPOINT ["mosquitto"]
CMD ["-c", "/etc/mosquitto/innkeeper.conf"]
