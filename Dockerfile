# One image for every role: `docker run IMAGE gateway`, `... stockd`, `... relay`, `... serve`.
FROM python:3.13-slim AS build
# The uv of the Makefile.
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.8
WORKDIR /app
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
# Dependencies first: a change of our own code does not install them again.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --locked --no-default-groups --no-install-project
COPY . .
RUN uv sync --locked --no-default-groups --no-editable

FROM python:3.13-slim
# A number, so that Kubernetes can check runAsNonRoot without a look into the image.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin sluice \
    && install --directory --owner=10001 --group=10001 /data
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /data
USER 10001
EXPOSE 50051 9200
# In a container loopback is nobody's. Every role says at the port of its metrics whether it is ready, in a flood too.
ENV SLUICE_LISTEN=0.0.0.0:50051 SLUICE_METRICS_LISTEN=0.0.0.0:9200
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["sluice", "health", "--metrics", "127.0.0.1:9200"]
ENTRYPOINT ["sluice"]
