"""Bakes and their pins, recipes, and every manifest that an image has had."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bake",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("workflow_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("request_key", sa.String(), nullable=False),
        sa.Column("bake_key", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("stages", sa.JSON(), nullable=False),
        sa.Column("failure", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("bake", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_bake_bake_key"), ["bake_key"], unique=False)
        batch_op.create_index(batch_op.f("ix_bake_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_bake_request_key"), ["request_key"], unique=False)
        batch_op.create_index(batch_op.f("ix_bake_run_id"), ["run_id"], unique=True)
        batch_op.create_index(batch_op.f("ix_bake_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_bake_workflow_id"), ["workflow_id"], unique=False)

    op.create_table(
        "bake_pin",
        sa.Column("request_key", sa.String(), nullable=False),
        sa.Column("dependencies", sa.JSON(), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("request_key"),
    )
    op.create_table(
        "image_digest",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("bake_key", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    with op.batch_alter_table("image_digest", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_image_digest_bake_key"), ["bake_key"], unique=False)

    op.create_table(
        "bake_token",
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("bake_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_table(
        "recipe",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", "version"),
    )
    with op.batch_alter_table("image", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("content_key", sa.String(), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("spec", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.create_index(batch_op.f("ix_image_content_key"), ["content_key"], unique=False)
    op.execute(
        "INSERT INTO image_digest (digest, bake_key, created_at) "
        "SELECT digest, MIN(bake_key), MIN(created_at) FROM image GROUP BY digest"
    )


def downgrade() -> None:
    with op.batch_alter_table("image", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_image_content_key"))
        batch_op.drop_column("spec")
        batch_op.drop_column("content_key")

    op.drop_table("recipe")
    op.drop_table("bake_token")
    with op.batch_alter_table("image_digest", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_image_digest_bake_key"))

    op.drop_table("image_digest")
    op.drop_table("bake_pin")
    with op.batch_alter_table("bake", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_bake_workflow_id"))
        batch_op.drop_index(batch_op.f("ix_bake_state"))
        batch_op.drop_index(batch_op.f("ix_bake_run_id"))
        batch_op.drop_index(batch_op.f("ix_bake_request_key"))
        batch_op.drop_index(batch_op.f("ix_bake_name"))
        batch_op.drop_index(batch_op.f("ix_bake_bake_key"))

    op.drop_table("bake")
