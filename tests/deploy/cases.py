"""The values that the chart is rendered with: each combination that makes a difference."""

SERVERS = {"redis": {"url": "redis://redis.data:6379"}, "nats": {"url": "nats://nats.data:4222"}}
POOL = {"jobsFile": "/jobs/jobs.toml"}
JOBS = '[jobs.echo]\ncommand = ["cat"]\n\n[jobs.say]\ncommand = ["./say.sh"]\n'
CONFIG = '[rules]\nlease = "20s"\n\n[gateway]\nmax_wait = "2m"\nallowed_job_types = ["a", "b"]\n'

CASES = {
    "servers of one's own": SERVERS,
    "quickstart": {"quickstart": {"enabled": True}},
    "quickstart without a worker, on a class of storage": {
        "quickstart": {"enabled": True, "storageClassName": "fast", "worker": {"enabled": False}},
    },
    "servers behind secrets": {
        "redis": {"existingSecret": {"name": "redis-url"}},
        "nats": {
            "existingSecret": {"name": "nats-url", "key": "nats"},
            "credentials": {"existingSecret": {"name": "nats-creds"}},
            "replicas": 3,
        },
        "workers": {"a": POOL},
    },
    "pools of many kinds": SERVERS | {
        "config": CONFIG,
        "workers": {
            "inline": {"jobs": JOBS, "files": {"say.sh": "#!/bin/sh\ncat\n"}, "slots": 4},
            "image": POOL | {"image": {"registry": "registry.example.com", "repository": "jobs",
                                       "digest": "sha256:" + "0" * 64}},
            "own": {"image": {"repository": "primes", "tag": "1"}, "probes": False,
                    "args": ["$(LONGSHORE_NATS__URL)"], "podDisruptionBudget": {"enabled": False}},
            "cpu": POOL | {"scaling": {"mode": "hpa", "hpa": {"behavior": {"scaleDown": {
                "stabilizationWindowSeconds": 60}}}}},
        },
    },
    "scaled by queues, to zero": SERVERS | {
        "nats": SERVERS["nats"] | {"monitoring": {"endpoint": "nats.data:8222"}},
        "workers": {"reports": POOL | {
            "slots": 4,
            "scaling": {"mode": "keda", "minReplicas": 0, "maxReplicas": 50,
                        "keda": {"jobTypes": ["report", "export"], "lagThreshold": 4,
                                 "triggers": [{"type": "cpu", "metadata": {"value": "80"}}]}},
        }},
    },
    "gateways and state that scale": SERVERS | {
        "gateway": {"autoscaling": {"enabled": True}}, "state": {"autoscaling": {"enabled": True}},
    },
    "one of each": SERVERS | {"gateway": {"replicas": 1}, "state": {"replicas": 1}},
    "ways in": SERVERS | {
        "gateway": {"service": {"type": "LoadBalancer", "annotations": {"a": "b"}, "headless": False}},
        "ingress": {
            "http": {"enabled": True, "className": "nginx", "hosts": ["api.example.com"],
                     "tls": [{"secretName": "tls", "hosts": ["api.example.com"]}]},
            "grpc": {"enabled": True, "hosts": ["grpc.example.com"],
                     "annotations": {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}},
        },
        "gatewayAPI": {"enabled": True, "parentRefs": [{"name": "public"}],
                       "httpHostnames": ["api.example.com"], "grpcHostnames": ["grpc.example.com"]},
        "certificate": {"enabled": True, "secretName": "tls", "dnsNames": ["api.example.com"],
                        "issuerRef": {"name": "letsencrypt"}, "duration": "2160h"},
    },
    "watched by services": SERVERS | {
        "workers": {"a": POOL},
        "monitoring": {"kind": "serviceMonitor", "prometheusRule": {"enabled": True},
                       "dashboards": {"enabled": True}},
    },
    "watched by pods": SERVERS | {
        "monitoring": {"kind": "podMonitor", "labels": {"release": "prometheus"}},
        "telemetry": {"otlpEndpoint": "http://otel:4317", "sampleRatio": 0.1},
    },
    "walled in": SERVERS | {
        "telemetry": {"otlpEndpoint": "http://otel:4317"},
        "workers": {"a": POOL | {"extraEgress": [{"ports": [{"port": 443}]}]}},
        "networkPolicy": {"enabled": True, "apiFrom": [{"namespaceSelector": {}}],
                          "adminFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]},
    },
    "all that can be added": SERVERS | {
        "fullnameOverride": "ls",
        "image": {"registry": "registry.example.com/x/", "tag": "1.2.3"},
        "imagePullSecrets": ["pull"],
        "commonLabels": {"team": "a"}, "commonAnnotations": {"note": "b"},
        "test": {"jobType": "sleep"},
        **{role: {
            "extraEnv": [{"name": "TZ", "value": "UTC"}],
            "extraEnvFrom": [{"secretRef": {"name": "more"}}],
            "extraVolumes": [{"name": "types", "configMap": {"name": "types"}}],
            "extraVolumeMounts": [{"name": "types", "mountPath": "/types"}],
            "extraContainers": [{"name": "side", "image": "side:1"}],
            "initContainers": [{"name": "first", "image": "first:1"}],
            "nodeSelector": {"disk": "ssd"}, "priorityClassName": "high",
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "podLabels": {"p": "l"}, "podAnnotations": {"p": "a"},
            "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "rack",
                                           "whenUnsatisfiable": "DoNotSchedule",
                                           "labelSelector": {"matchLabels": {"a": "b"}}}],
            "serviceAccount": {"create": False, "name": "mine"},
        } for role in ("gateway", "state", "workerDefaults")},
        "workers": {"a": POOL},
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-types"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}\n",
        ],
    },
}

# Values that are refused, and a word of the reason.
REFUSED = {
    "a key that is none": ({"gatway": {}}, "gatway"),
    "a key of a role that is none": ({"gateway": {"replica": 1}}, "replica"),
    "a key of a pool that is none": ({"workers": {"a": {"slot": 1}}}, "slot"),
    "a way to scale that is none": ({"workers": {"a": {"scaling": {"mode": "vpa"}}}}, "mode"),
    "a budget that lets nothing go": ({"state": {"podDisruptionBudget": {"maxUnavailable": 0}}}, "maxUnavailable"),
    "a budget of no percents": ({"state": {"podDisruptionBudget": {"maxUnavailable": "0%"}}}, "maxUnavailable"),
    "a digest that is none": ({"image": {"digest": "latest"}}, "digest"),
    "a name that is none": ({"workers": {"A_B": POOL}}, "A_B"),
    "no servers": ({}, "quickstart.enabled=true"),
    "no NATS": ({"redis": {"url": "redis://a"}}, "nats.url"),
    "a password in plain sight": (SERVERS | {"redis": {"url": "redis://:geheim@a"}}, "Secret"),
    "two places": (SERVERS | {"nats": {"url": "nats://a", "existingSecret": {"name": "b"}}}, "both"),
    "a pool with nothing to do": (SERVERS | {"workers": {"a": {}}}, "what is it to run"),
    "two files of jobs": (SERVERS | {"workers": {"a": POOL | {"jobs": JOBS}}}, "both"),
    "files beside nothing": (SERVERS | {"workers": {"a": POOL | {"files": {"a": "b"}}}}, "files"),
    "zero by CPU": (SERVERS | {"workers": {"a": POOL | {"scaling": {"mode": "hpa", "minReplicas": 0}}}}, "keda"),
    "KEDA without queues": (SERVERS | {"workers": {"a": POOL | {"scaling": {"mode": "keda"}}}}, "jobTypes"),
    "KEDA without an endpoint": (SERVERS | {"workers": {"a": POOL | {"scaling": {
        "mode": "keda", "keda": {"jobTypes": ["a"]}}}}}, "monitoring.endpoint"),
    "more at least than at most": (SERVERS | {"gateway": {"autoscaling": {"minReplicas": 11}}}, "maxReplicas"),
    "an Ingress without hosts": (SERVERS | {"ingress": {"grpc": {"enabled": True}}}, "hosts"),
    "routes to no Gateway": (SERVERS | {"gatewayAPI": {"enabled": True}}, "parentRefs"),
    "half a Certificate": (SERVERS | {"certificate": {"enabled": True, "secretName": "a"}}, "certificate"),
    "a name that is too long": (SERVERS | {"fullnameOverride": "a" * 40,
                                           "workers": {"b" * 20: POOL}}, "too long"),
}
