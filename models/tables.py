"""Every table, imported so that the metadata is whole: for migrations and for a first look."""

from models.audit import AuditEvent, AuditHead
from models.bulk import BulkPart, BulkRetry
from models.calls import RunCall
from models.chains import ChainLink
from models.circuits import Circuit
from models.connections import Connection, KeyCheck
from models.db import Base
from models.drafts import Draft
from models.grants import Consent, Grant
from models.issues import Alert, Conflict, Issue, IssueNote
from models.journal import Batch, Change
from models.links import Link, Shadow
from models.maintenance import JobExecution, MaintenanceJob
from models.people import (
    ApiToken,
    Invitation,
    Membership,
    Reply,
    SignInLink,
    User,
    WebSession,
    Workspace,
)
from models.processes import Process
from models.questions import Question
from models.sync_configs import Baseline, SyncConfig
from models.sync_jobs import SyncJob, SyncJobConfig
from models.sync_runs import RunLine, SyncRun

__all__ = [
    "Alert",
    "ApiToken",
    "AuditEvent",
    "AuditHead",
    "Base",
    "Baseline",
    "Batch",
    "BulkPart",
    "BulkRetry",
    "ChainLink",
    "Change",
    "Circuit",
    "Conflict",
    "Connection",
    "Consent",
    "Draft",
    "Grant",
    "Invitation",
    "Issue",
    "IssueNote",
    "JobExecution",
    "KeyCheck",
    "Link",
    "MaintenanceJob",
    "Membership",
    "Process",
    "Question",
    "Reply",
    "RunCall",
    "RunLine",
    "Shadow",
    "SignInLink",
    "SyncConfig",
    "SyncJob",
    "SyncJobConfig",
    "SyncRun",
    "User",
    "WebSession",
    "Workspace",
]
metadata = Base.metadata
