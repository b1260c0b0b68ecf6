# One image for every process type; which one it is says the first argument (scripts/run.sh).
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app

# First what changes seldom.
COPY requirements.lock ./
RUN pip install --require-hashes --requirement requirements.lock

COPY . .
RUN pip install --no-deps --no-build-isolation --config-settings editable_mode=compat --editable . \
    && useradd --uid 10001 --create-home syncline \
    && install --directory --owner=syncline --group=syncline /data /data/uploads

USER syncline
ENV PORT=8000 UPLOADS_PATH=/data/uploads
EXPOSE 8000
ENTRYPOINT ["sh", "scripts/run.sh"]
CMD ["web"]
