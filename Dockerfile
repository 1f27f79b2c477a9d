# One image for every process: `gamehub hub`, `gamehub worker`, `gamehub migrate up`.
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app
COPY requirements.lock ./
RUN pip install -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY domain domain
COPY protocol protocol
COPY storage storage
COPY services services
COPY workers workers
COPY hub hub
COPY loadtest loadtest
COPY gamehub gamehub
RUN pip install --no-build-isolation --no-deps . \
    && useradd --system --uid 10001 --home-dir /data gamehub \
    && install -d -o gamehub -g gamehub -m 0700 /data

# Keys live here when none are named; the servers' data does not.
VOLUME /data
USER gamehub
ENV GAMEHUB_HOST=0.0.0.0 \
    GAMEHUB_DATA=/data
EXPOSE 8000
# SIGTERM drains: see docs/operations.md.
STOPSIGNAL SIGTERM
ENTRYPOINT ["gamehub"]
CMD ["hub"]
