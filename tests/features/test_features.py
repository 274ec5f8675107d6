"""The features, through the application's ports; those tagged @http through the official SDK and a running server."""

from pytest_bdd import scenarios

from tests.steps.catalog import *  # noqa: F403  steps are found by being here
from tests.steps.identity import *  # noqa: F403
from tests.steps.remembering import *  # noqa: F403
from tests.steps.retrying import *  # noqa: F403
from tests.steps.speaking import *  # noqa: F403
from tests.steps.tools import *  # noqa: F403
from tests.steps.trouble import *  # noqa: F403

scenarios(".")
