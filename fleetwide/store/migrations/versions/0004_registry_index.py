"""The registry's index: repositories, blobs, manifests, tags, reviews, accounts, replicas."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BYTEWISE = sa.String().with_variant(sa.String(collation="C"), "postgresql")
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "registry_account",
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("secret_hash", sa.String(), nullable=False),
        sa.Column("grants", sa.JSON(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "registry_blob",
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "registry_namespace",
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("quota", sa.BigInteger(), nullable=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "registry_replica",
        sa.Column("repository", BYTEWISE, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("workflow_id", sa.String(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("repository", "digest", "region"),
    )
    op.create_table(
        "registry_repository",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("tags", sa.Integer(), nullable=False),
        sa.Column("manifests", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleting_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "registry_review",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("review_after", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "repository_id", "digest"),
    )
    with op.batch_alter_table("registry_review", schema=None) as batch_op:
        batch_op.create_index("ix_registry_review_due", ["review_after", "id"], unique=False)

    op.create_table(
        "registry_manifest",
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content_size", sa.BigInteger(), nullable=False),
        sa.Column("subject", BYTEWISE, nullable=True),
        sa.Column("artifact_type", sa.String(), nullable=False),
        sa.Column("annotations", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("pushed_by", sa.String(), nullable=False),
        sa.Column("pushed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pulls", sa.BigInteger(), nullable=False),
        sa.Column("last_pulled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["registry_repository.id"],
        ),
        sa.PrimaryKeyConstraint("repository_id", "digest"),
    )
    with op.batch_alter_table("registry_manifest", schema=None) as batch_op:
        batch_op.create_index("ix_registry_manifest_digest", ["digest"], unique=False)
        batch_op.create_index(
            "ix_registry_manifest_subject", ["repository_id", "subject", "digest"], unique=False
        )

    op.create_table(
        "registry_manifest_blob",
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("manifest", BYTEWISE, nullable=False),
        sa.Column("blob", BYTEWISE, nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["registry_repository.id"],
        ),
        sa.PrimaryKeyConstraint("repository_id", "manifest", "blob"),
    )
    with op.batch_alter_table("registry_manifest_blob", schema=None) as batch_op:
        batch_op.create_index("ix_registry_manifest_blob_blob", ["blob"], unique=False)
        batch_op.create_index(
            "ix_registry_manifest_blob_repository", ["repository_id", "blob"], unique=False
        )

    op.create_table(
        "registry_manifest_child",
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("parent", BYTEWISE, nullable=False),
        sa.Column("child", BYTEWISE, nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["registry_repository.id"],
        ),
        sa.PrimaryKeyConstraint("repository_id", "parent", "child"),
    )
    with op.batch_alter_table("registry_manifest_child", schema=None) as batch_op:
        batch_op.create_index(
            "ix_registry_manifest_child_child", ["repository_id", "child"], unique=False
        )

    op.create_table(
        "registry_repository_blob",
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["registry_repository.id"],
        ),
        sa.PrimaryKeyConstraint("repository_id", "digest"),
    )
    with op.batch_alter_table("registry_repository_blob", schema=None) as batch_op:
        batch_op.create_index("ix_registry_repository_blob_digest", ["digest"], unique=False)

    op.create_table(
        "registry_tag",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["registry_repository.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("registry_tag", schema=None) as batch_op:
        batch_op.create_index(
            "ix_registry_tag_digest",
            ["repository_id", "digest"],
            unique=False,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )
        batch_op.create_index(
            "ix_registry_tag_history", ["repository_id", "name", "started_at"], unique=False
        )
        batch_op.create_index(
            "uq_registry_tag_live",
            ["repository_id", "name"],
            unique=True,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )


def downgrade() -> None:
    with op.batch_alter_table("registry_tag", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_registry_tag_live",
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )
        batch_op.drop_index("ix_registry_tag_history")
        batch_op.drop_index(
            "ix_registry_tag_digest",
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )

    op.drop_table("registry_tag")
    with op.batch_alter_table("registry_repository_blob", schema=None) as batch_op:
        batch_op.drop_index("ix_registry_repository_blob_digest")

    op.drop_table("registry_repository_blob")
    with op.batch_alter_table("registry_manifest_child", schema=None) as batch_op:
        batch_op.drop_index("ix_registry_manifest_child_child")

    op.drop_table("registry_manifest_child")
    with op.batch_alter_table("registry_manifest_blob", schema=None) as batch_op:
        batch_op.drop_index("ix_registry_manifest_blob_repository")
        batch_op.drop_index("ix_registry_manifest_blob_blob")

    op.drop_table("registry_manifest_blob")
    with op.batch_alter_table("registry_manifest", schema=None) as batch_op:
        batch_op.drop_index("ix_registry_manifest_subject")
        batch_op.drop_index("ix_registry_manifest_digest")

    op.drop_table("registry_manifest")
    with op.batch_alter_table("registry_review", schema=None) as batch_op:
        batch_op.drop_index("ix_registry_review_due")

    op.drop_table("registry_review")
    op.drop_table("registry_repository")
    op.drop_table("registry_replica")
    op.drop_table("registry_namespace")
    op.drop_table("registry_blob")
    op.drop_table("registry_account")
