# The main job in a container, as a user without rights:
#   docker build -t transfer-harness .
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" transfer-harness run --data photos --time-limit 15m
FROM python:3.12-slim AS build
WORKDIR /build
RUN python -m venv /opt/harness
COPY requirements.txt ./
RUN /opt/harness/bin/pip install --no-cache-dir --require-hashes --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY harness harness
COPY dashboards dashboards
COPY studies studies
COPY backbones backbones
COPY benchmarks benchmarks
COPY datasets datasets
RUN /opt/harness/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
RUN useradd --create-home --uid 1000 harness && install --directory --owner harness /data
COPY --from=build /opt/harness /opt/harness
ENV PATH=/opt/harness/bin:$PATH HARNESS_CACHE=/data/.cache
USER 1000
WORKDIR /data
ENTRYPOINT ["harness"]
CMD ["run", "--study", "mnist", "--trials", "50"]
