"""Catalogues: who owns what, by a company's own list."""

import pytest

from service.adapters.catalogues import CatalogueError, load_catalogue
from service.core.owners import Owners

BACKSTAGE = """
apiVersion: backstage.io/v1alpha1
kind: Component
metadata:
  name: checkout
  annotations:
    example.com/account-id: "000123"
    example.com/arn: arn:aws:rds:us-east-1:1:db:orders
spec:
  type: service
  owner: group:default/payments
---
kind: Location
spec: {targets: [./x.yaml]}
---
just a text
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "catalog-info.yaml").write_text(BACKSTAGE)
    (tmp_path / "owners.csv").write_text(
        "Owner,resource_id,sub_account_id,name\n"
        "search, i-7 ,,\n web ,,000777,\n,i-8,,\nml,,,Trainer\n"
    )
    return tmp_path


@pytest.fixture
def owners(folder):
    catalogue = load_catalogue([folder / "owners.csv", folder / "catalog"])
    return Owners(["team"], {"000001": "platform"}, catalogue, ["app"])


@pytest.mark.parametrize(
    ("tags", "account", "resource", "name", "source"),
    [
        (None, None, "i-7", "search", "owners.csv: resource i-7"),
        (None, "000777", "i-9", "web", "owners.csv: sub-account 000777"),
        ({"App": "trainer"}, None, None, "ml", "owners.csv: App=trainer"),
        ({"app": "checkout"}, None, None, "payments", "catalog-info.yaml: app=checkout"),
        (None, "000123", None, "payments", "catalog-info.yaml: sub-account 000123"),
        (None, None, "arn:aws:rds:us-east-1:1:db:orders", "payments",
         "catalog-info.yaml: resource arn:aws:rds:us-east-1:1:db:orders"),
        (None, "000001", "i-7", "platform", "owner of sub-account 000001"),
        ({"team": "x"}, "000777", "i-7", "x", "tag team=x"),
        ({"cost_category/Team": "finance"}, "000777", "i-7", "finance",
         "cost category Team=finance"),
        ({"cost_category/Team": "finance", "team": "x"}, None, None, "x", "tag team=x"),
    ],
)  # fmt: skip
def test_the_catalogue_comes_after_tags_categories_and_accounts(
    owners, tags, account, resource, name, source
):
    assert owners.of(tags, account, resource) == (name, source)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.csv", "who,what\nx,y\n", "needs a column owner"),
        ("a.csv", "", "needs a column owner"),
        ("a.yaml", "a: [", "not YAML"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "not YAML"),
        ("gone.csv", None, "No such file"),
    ],
)
def test_what_is_no_catalogue_is_refused_in_one_line(tmp_path, name, text, why):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(CatalogueError, match=why) as refused:
        load_catalogue([tmp_path / name])
    assert "\n" not in str(refused.value)
