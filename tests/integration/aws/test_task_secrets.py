"""Secrets of tasks in AWS Secrets Manager, as moto has it."""

import boto3
import pytest
from botocore.exceptions import ClientError

from fleetwide.errors import CloudUnavailable, InvalidInput
from fleetwide.providers.task_secrets import AwsSecrets, secret_source
from fleetwide.settings import Settings
from tests.aws import Aws

pytestmark = pytest.mark.integration
REGION = "us-east-1"


@pytest.fixture
def settings(aws: Aws) -> Settings:
    client = boto3.client("secretsmanager", endpoint_url=aws.url, region_name=REGION)
    client.create_secret(Name="fleetwide/shop/db", SecretString="hush")
    client.create_secret(Name="fleetwide/shop/key", SecretBinary=b"\0\1")
    client.create_secret(Name="fleetwide/other/db", SecretString="theirs")
    return Settings(secrets_provider="aws", aws_endpoint_url=aws.url, aws_region=REGION)


def test_texts_and_bytes_are_read_by_application_and_name(settings: Settings) -> None:
    source = secret_source(settings)
    assert source.read("shop", "db") == b"hush"
    assert source.read("shop", "key") == b"\0\1"
    assert source.read("other", "db") == b"theirs"


def test_one_that_is_not_there_is_the_users_fault_and_named(settings: Settings) -> None:
    with pytest.raises(
        InvalidInput, match=r"the secret nope of shop is not in AWS as fleetwide/shop/nope"
    ):
        secret_source(settings).read("shop", "nope")


class Refusing:
    """A client of a role that may not, or of an AWS that is tired."""

    def __init__(self, code: str) -> None:
        self.code = code

    def get_secret_value(self, **_: object) -> None:
        raise ClientError({"Error": {"Code": self.code, "Message": "x"}}, "GetSecretValue")


def test_a_refusal_is_no_fault_of_the_system_and_a_tired_aws_is() -> None:
    with pytest.raises(InvalidInput, match="may not be read by this host"):
        AwsSecrets(Refusing("AccessDeniedException"), "fleetwide/").read("shop", "db")
    with pytest.raises(CloudUnavailable, match="ThrottlingException"):
        AwsSecrets(Refusing("ThrottlingException"), "fleetwide/").read("shop", "db")
