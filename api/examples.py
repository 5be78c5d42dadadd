"""Examples of request bodies, shown in the OpenAPI pages."""

from fastapi.openapi.models import Example

_CONTAINER = {
    "image": "apps/hello:1.0.0",
    "command": ["sh", "-c", "echo hi"],
    "resources": {"cpu": 0.25, "memory": "64MiB"},
}

_OS = {"name": "baseos", "distribution": "debian", "suite": "bookworm"}
OS_SPEC: dict[str, Example] = {
    "debian": {"summary": "A small Debian", "value": _OS},
    "both": {
        "summary": "A container base and a bootable VM from one set of packages",
        "value": {
            **_OS,
            "packages": ["ca-certificates"],
            "targets": ["container", "vm"],
            "vm": {"size": "2GiB", "boot": "uefi"},
            "promotion": {"soak_hours": 24, "automatic": True},
        },
    },
}
PROMOTE: dict[str, Example] = {
    "stable": {
        "summary": "Make it the stable release",
        "value": {"reason": "canary is fine", "by": "ana"},
    },
    "expected": {
        "summary": "Only when stable points at that release now; skip what is left of the soak",
        "value": {
            "expected": "20261122.1",
            "emergency": True,
            "reason": "CVE-2026-0001",
            "by": "ana",
        },
    },
}
STAND: dict[str, Example] = {
    "reason": {
        "summary": "Kept with the release",
        "value": {"reason": "breaks DNS in some offices", "by": "ana"},
    }
}
RETENTION: dict[str, Example] = {
    "look": {
        "summary": "What would go, by the line's own policy",
        "value": {"name": "baseos", "dry_run": True},
    }
}
SCHEDULE: dict[str, Example] = {
    "line": {
        "summary": "A build at night, a look for security fixes every quarter of an hour",
        "value": {"spec": _OS, "daily_at": "03:00", "security_minutes": 15, "retention": True},
    }
}
REBASE: dict[str, Example] = {
    "stable": {"summary": "Onto the release that is stable now", "value": {"base": "baseos:stable"}}
}
BAKE_SPEC: dict[str, Example] = {
    "wheel": {
        "summary": "A Python wheel onto the stable base",
        "value": {
            "name": "hello",
            "version": "1.0.0",
            "base": "baseos:stable",
            "artifacts": [
                {
                    "type": "wheel",
                    "sha256": "0" * 64,
                    "filename": "hello-1.0.0-py3-none-any.whl",
                }
            ],
            "entrypoint": ["hello"],
        },
    }
}
RECIPE: dict[str, Example] = {
    "service": {
        "summary": "How a Python service starts, and what it must tell",
        "value": {
            "name": "python-service",
            "parameters": {
                "module": {"description": "what `python3 -m` runs"},
                "port": {"type": "integer", "default": "8080"},
            },
            "entrypoint": ["/usr/bin/python3", "-m", "${module}"],
            "env": {"PORT": "${port}"},
            "init": True,
            "owner": "platform-team",
        },
    }
}
TASK_SPEC: dict[str, Example] = {
    "hello": {"summary": "Say hi", "value": {"app": "hello", "container": _CONTAINER}}
}
JOB_SPEC: dict[str, Example] = {
    "array": {
        "summary": "Twenty children, each tried up to three times",
        "value": {
            "app": "hello",
            "size": 20,
            "container": _CONTAINER,
            "retry": {"retries": 2},
        },
    }
}
POOL: dict[str, Example] = {
    "ec2": {
        "summary": "Spot instances that come with the work",
        "value": {
            "name": "batch",
            "max": 50,
            "types": [{"name": "m6i.4xlarge"}, {"name": "m6a.4xlarge", "price": 0.9}],
            "ec2": {
                "region": "eu-west-1",
                "subnets": ["subnet-0a1b2c3d", "subnet-1a2b3c4d"],
                "image": "fleet-host",
                "base": "baseos:stable",
                "spot": True,
            },
        },
    },
    "local": {
        "summary": "Further hosts on this machine",
        "value": {
            "name": "extra",
            "provider": "local",
            "desired": 1,
            "max": 3,
            "types": [{"name": "small", "cpu": 1, "memory": "512MiB"}],
        },
    },
}
CAPACITY_GROUP: dict[str, Example] = {
    "critical": {
        "summary": "What a product may count on, and at most takes",
        "value": {
            "tier": "Critical",
            "guarantee": {"cpu": 40, "memory": "160GiB"},
            "cap": {"cpu": 80},
            "owner": "web@example.com",
            "reason": "the shop opens in June",
        },
    },
}
QUEUE: dict[str, Example] = {
    "team": {
        "summary": "What a team's batch may count on, who may use it",
        "value": {
            "guarantee": {"cpu": 40, "memory": "160GiB"},
            "limit": {"cpu": 200},
            "weight": 2,
            "submitters": ["ana", "training-robot"],
            "owners": ["ana"],
            "pending_ttl_seconds": 86400,
            "reason": "the team begins in June",
        },
    },
}
QUEUE_CHANGES: dict[str, Example] = {
    "move": {
        "summary": "A guarantee goes from one queue to its sibling",
        "value": {
            "changes": [
                {"path": "ml/training", "spec": {"guarantee": {"cpu": 20}}, "revision": 3},
                {"path": "ml/serving", "spec": {"guarantee": {"cpu": 60}}, "revision": 1},
            ],
            "reason": "the model is trained",
        },
    },
}
CAPACITY_REQUEST: dict[str, Example] = {
    "launch": {
        "summary": "More for two weeks, from a sibling that can spare it",
        "value": {
            "queue": "ml/training",
            "guarantee": {"cpu": 40},
            "from_queue": "ml/serving",
            "until": "2027-01-15T00:00:00Z",
            "by": "ana",
            "reason": "the new model is trained",
        },
    },
}
CAPACITY_DECISION: dict[str, Example] = {
    "decision": {
        "summary": "Who decides, and why",
        "value": {"by": "olga", "reason": "serving has room until then"},
    },
}
KILL: dict[str, Example] = {
    "reason": {"summary": "Kept with the thing", "value": {"reason": "started by mistake"}}
}
JOB_HOLD: dict[str, Example] = {
    "wait": {
        "summary": "No new children; those that run go on",
        "value": {"reason": "the bucket is being moved", "by": "ana"},
    },
    "stop": {
        "summary": "Stop those that run, too: they begin again after the release",
        "value": {"reason": "the bucket is being moved", "by": "ana", "stop_running": True},
    },
}
JOB_RELEASE: dict[str, Example] = {
    "release": {"summary": "Go on", "value": {"reason": "the bucket is there", "by": "ana"}}
}
JOB_RESIZE: dict[str, Example] = {
    "more": {
        "summary": "As many children in all",
        "value": {"size": 500, "reason": "more files came", "by": "ana"},
    },
    "close": {
        "summary": "The last ones: the job ends when they have",
        "value": {"size": 512, "close": True, "reason": "the day is over", "by": "ana"},
    },
}
CHILDREN_CANCEL: dict[str, Example] = {
    "some": {
        "summary": "One child and a range of them",
        "value": {"indexes": ["7", "20-29"], "reason": "their input is broken", "by": "ana"},
    }
}
EXEC: dict[str, Example] = {
    "look": {
        "summary": "Look at something",
        "value": {"command": ["cat", "/etc/os-release"], "by": "ana"},
    },
    "secret": {
        "summary": "With a secret and input, which no history and no event tells",
        "value": {
            "command": ["sh", "-c", 'import-it --key "$KEY"'],
            "env": {"KEY": "hush"},
            "stdin": "aGVsbG8K",
        },
    },
}
RESOLVE: dict[str, Example] = {
    "two": {
        "summary": "Pin what a submission names",
        "value": {"references": ["apps/hello:1.0.0", "baseos/baseos:stable"]},
    }
}
UNDO: dict[str, Example] = {
    "before": {
        "summary": "What it meant before",
        "value": {"by": "ana", "reason": "pushed by mistake"},
    }
}
NAMESPACE: dict[str, Example] = {
    "quota": {"summary": "A hundred gibibytes", "value": {"quota": "100GiB", "owner": "team-a"}}
}
DELETION: dict[str, Example] = {
    "repository": {
        "summary": "A repository that nobody needs",
        "value": {"repository": "ci/old-app", "by": "ana", "reason": "the app is gone"},
    }
}
REGISTRY_RETENTION: dict[str, Example] = {
    "look": {"summary": "What would go, by the policy file", "value": {}},
    "apply": {"summary": "Let it go without asking again", "value": {"apply": True, "by": "ana"}},
}
GARBAGE: dict[str, Example] = {
    "look": {"summary": "What would be freed now", "value": {"dry_run": True}},
    "slowly": {"summary": "Fifty things in a second", "value": {"per_second": 50}},
}
RECONCILE: dict[str, Example] = {
    "all": {"summary": "Everything; take over what is unknown", "value": {}},
    "one": {
        "summary": "One repository; only tell of what is unknown",
        "value": {"repository": "apps/hello", "adoption": "alarm"},
    },
}
SCRUB: dict[str, Example] = {
    "slowly": {"summary": "Five MiB in a second", "value": {"bytes_per_second": "5MiB"}}
}
UPKEEP: dict[str, Example] = {
    "daily": {
        "summary": "Collect every hour, compare every night, read all in a week",
        "value": {"gc_minutes": 60, "reconcile_hours": 24, "scrub_hours": 168},
    }
}
HOST_MOVE: dict[str, Example] = {
    "reason": {
        "summary": "Kept with the host",
        "value": {"reason": "its disk fails", "by": "ana"},
    }
}
VERSION_MOVE: dict[str, Example] = {
    "reason": {
        "summary": "Kept in the events",
        "value": {"reason": "tasks fail to start", "by": "ana"},
    }
}
PROMOTION: dict[str, Example] = {
    "all": {"summary": "All runs", "value": {"reason": "release 1.5.0", "by": "ana"}},
    "ramp": {
        "summary": "A tenth of them first",
        "value": {"percent": 10, "reason": "release 1.5.0", "by": "ana"},
    },
}
HOST_DRAIN: dict[str, Example] = {
    "drain": {
        "summary": "Five tasks at a time; whatever is left after an hour ends at once",
        "value": {
            "reason": "new kernel",
            "by": "ana",
            "parallel": 5,
            "deadline_seconds": 3600,
            "force": True,
        },
    }
}
METRICS: dict[str, Example] = {
    "queue": {
        "summary": "What waits for all copies of a service together",
        "value": {
            "source": "queue-exporter",
            "samples": [{"service": "web", "name": "queueDepth", "value": 42}],
        },
    },
    "requests": {
        "summary": "Requests per second of one copy",
        "value": {
            "source": "web.0.1",
            "samples": [{"service": "web", "task": "web.0.1", "name": "requests", "value": 12.5}],
        },
    },
}
TASK_KILL: dict[str, Example] = {
    "reason": KILL["reason"],
    "now": {
        "summary": "A copy of a service, without leaving its load balancers first",
        "value": {"reason": "it answers nonsense", "by": "ana", "now": True},
    },
}
TASK_MOVE: dict[str, Example] = {
    "move": {
        "summary": "Another service takes a copy over",
        "value": {"task_id": "web.0.1", "to": "web-canary", "by": "ana", "reason": "it is warm"},
    }
}
SERVICE_ATTRIBUTES: dict[str, Example] = {
    "owner": {
        "summary": "Another team has it",
        "value": {
            "owner": "checkout",
            "labels": {"tier": "gold"},
            "remove_labels": ["trial"],
            "by": "ana",
            "reason": "teams were split",
        },
    }
}
SERVICE: dict[str, Example] = {
    "web": {
        "summary": "Three copies with a health check, deployed one after the other",
        "value": {
            "name": "web",
            "spec": {
                "app": "hello",
                "capacity": {"min": 2, "desired": 3, "max": 10},
                "container": {
                    "image": "apps/hello:1.0.0",
                    "command": ["serve"],
                    "resources": {"cpu": 0.25, "memory": "64MiB", "ports": {"http": {"to": 8080}}},
                    "health": {"http": {"port": 8080, "path": "/health"}},
                },
                "deploy": {"max_surge_percent": 34},
            },
        },
    },
}
DISRUPTION_BUDGET: dict[str, Example] = {
    "careful": {
        "summary": "Nine of ten stay healthy, two are moved in a minute at the most",
        "value": {
            "disruption_budget": {
                "policy": {"availability_percentage": {"percent": 90}},
                "rate": {"count_per_interval": {"count": 2, "seconds": 60}},
            },
            "reason": "it serves people today",
            "by": "ana",
        },
    },
    "default": {
        "summary": "That of its kind again",
        "value": {"disruption_budget": None, "reason": "the day is over", "by": "ana"},
    },
}
