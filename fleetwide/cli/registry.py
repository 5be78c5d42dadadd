"""``fleetwide registry``: what the registry hosts, and its upkeep."""

from fleetwide.cli.later import later, noun

COMMANDS = {
    "list": ("registry_contents:list_repositories", "List repositories."),
    "search": ("registry_contents:search", "Look for repositories by a part of their names."),
    "show": (
        "registry_contents:show",
        "Show an image: its layers and who shares them, its pulls, what needs it.",
    ),
    "resolve": (
        "registry_contents:resolve",
        "Say which digests references mean now; exit code 1 when one has no answer.",
    ),
    "login": (
        "registry_login:login",
        "Keep an account and its secret for this command line, after the API has accepted them.",
    ),
    "logout": ("registry_login:logout", "Forget the account of this command line."),
    "whoami": (
        "registry_login:whoami",
        "Show with which account this command line comes, and what it may do.",
    ),
    "tags": ("registry_tags:tags", "List the tags of a repository."),
    "history": (
        "registry_tags:history",
        "List what a tag has meant, newest first, and who changed it.",
    ),
    "at": ("registry_tags:meaning_at", "Show what a tag meant at a time."),
    "untag": ("registry_tags:untag", "Delete a tag; its image stays until it is collected."),
    "undo": (
        "registry_tags:undo",
        "Let a tag mean again what it meant before; also one that was deleted.",
    ),
    "delete": (
        "registry_retention:delete",
        "Delete a repository with all that is in it, for good.",
    ),
    "usage": ("registry_quota:usage", "Show what namespaces or owners hold."),
    "replicate": ("registry_regions:replicate", "Copy an image to other regions now."),
    "replicas": ("registry_regions:replicas", "Say in which regions an image lies."),
    "preheat": ("registry_regions:preheat", "Have an image on hosts before a job needs it there."),
    "serve": ("registry_server:serve", "Serve the registry's gateway until SIGTERM."),
    "nginx-config": (
        "registry_nginx:print_config",
        "Print nginx's configuration for the front door; start it with nginx -e stderr -c FILE.",
    ),
    "import": (
        "registry_import:import_repositories",
        "Take what Docker Distribution holds into the registry's index; may be run again.",
    ),
    "account": (
        "registry_account:app",
        "Accounts of the image registry: who may pull and push.",
    ),
    "quota": ("registry_quota:app", "What namespaces may hold."),
    "retention": (
        "registry_retention:app",
        "Old tags: what would go by the policy's rules, and letting it go.",
    ),
    "gc": (
        "registry_gc:gc",
        "Garbage collection: what nobody needs any more goes, while pushes go on.",
    ),
    "reconcile": ("registry_gc:reconcile", "Compare the registry's index with its storage."),
    "scrub": ("registry_gc:scrub", "Read the registry's blobs again."),
}
"""Each command's place in ``fleetwide.cli``, and its help."""

app = noun("The image registry.")
later(app, COMMANDS)
