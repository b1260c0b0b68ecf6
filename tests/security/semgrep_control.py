# Never run, never imported: each line breaks the rule that it names, so that a rule that sees nothing is seen.
# ruff: noqa
# mypy: ignore-errors
import importlib
import os
import pathlib
import pickle  # ruleid: nothing-is-unpickled
import random
import subprocess
import urllib.request

import flask
import httpx
import markupsafe
import requests  # ruleid: one-way-out-over-http
import sqlalchemy as sa
import yaml
from flask import redirect, request


def broken(db, log, given, settings, name):
    eval(given)  # ruleid: no-code-from-text
    flask.render_template_string(given)  # ruleid: no-template-from-text
    markupsafe.Markup(given)  # ruleid: no-template-from-text
    yaml.load(given)  # ruleid: yaml-makes-no-objects
    httpx.get("https://example.com")  # ruleid: one-way-out-over-http
    urllib.request.urlopen(given)  # ruleid: one-way-out-over-http
    sa.text(f"SELECT {name}")  # ruleid: sql-is-not-put-together
    sa.text("SELECT %s" % name)  # ruleid: sql-is-not-put-together
    given == settings.secret  # ruleid: secrets-are-compared-in-constant-time
    settings.token != given  # ruleid: secrets-are-compared-in-constant-time
    httpx.stream("GET", given, verify=False)  # ruleid: certificates-are-verified, one-way-out-over-http
    subprocess.run(given, shell=True)  # ruleid: no-shell
    os.system(given)  # ruleid: no-shell
    random.randint(0, 9)  # ruleid: tokens-come-from-the-system
    log.info("signed_in", password=given)  # ruleid: no-secret-in-a-log


def led_astray(db):
    wanted = request.args.get("next")
    db.execute(sa.text("SELECT " + wanted))  # ruleid: what-comes-in-is-no-sql, sql-is-not-put-together
    importlib.import_module(wanted)  # ruleid: what-comes-in-is-no-path
    pathlib.Path(request.form["file"])  # ruleid: what-comes-in-is-no-path
    return redirect(wanted)  # ruleid: nobody-is-led-elsewhere
