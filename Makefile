# Two commands for a new machine: `make demo` and `make test`. Then the release pipeline, from the audit to the way back.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/uv pip compile --quiet --universal --generate-hashes \
	--no-annotate --no-emit-index-url --python-version 3.11
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

# What the pipeline is asked for (docs/reference/variables.md is made of these lines):
# APPLICATION  the application; not needed while there is only one
# SOURCE       what is released: a directory or an archive
# RELEASE_ID   the release; one named by the time when a release is made, else the newest or the previous one
# TYPE         what kind of release it is: major, minor or hotfix
# BUILD_ID     which build of your continuous integration it is
# TICKETS      the tickets that it is about
# ENVIRONMENT  the environment that an approval is for, or whose secrets are meant
# ROLE         the role in which somebody signs
# KEY          the key that signs: a file, agent, or agent:<comment or fingerprint of a key of the ssh-agent>
# HOSTS        the hosts of a rollback authorization: ids, or names that STATUS knows
# STATUS       a file with what `make release-status FORMAT=json` printed
# MANIFEST     the file with the manifest, where the catalogue is not; OUTPUT says where the approval goes
# AUDIT        the audit bundle of the release that is looked at, for the counts of its tests
# HOURS        how long what is signed holds; as long as the environment allows without it. Or how long a lock does; without it, until released
# MESSAGE      why nothing is to be deployed
# OUTPUT       a file for what is signed, to be sent; without it that goes into the catalogue
# FILE         a backup of the state, an approval, a rollback authorization, or a draft of the trust policy, that was sent
# RENEW        yes: draft a trust policy also when nothing but its times changes
# RUN          the run that is proven, the newest without it (OUTPUT says where the archive goes); or the one that is held
# STORE        the directory of an artifact store that a web server serves, on STORE_HOST; on the controller without that
# STORE_HOST   the host of that directory, as in the inventory
# NAME         the secret, such as database/main
# FIELD        the field of it
# KIND         what kind of secret it is: database, s3, broker, api_key, encryption_key or jwt
# BACK         yes: take back what a rotation left open, instead of going on with it
# BY           the person or machine whose accesses to secrets are shown
# SINCE        the time, such as 2026-11-22T00:00:00Z, from which they are shown; UNTIL is that of the last one
# UNTIL        see SINCE
# LEFTOVERS    removed: remove policies and AppRoles of ours at Vault that vault_roles do not have any more, or what is ours at AWX and not in awx/; kept without it
# FIRST        the file of the first half of the emergency access; SECOND is that of the other one
# SECOND       see FIRST
# DIRECTORY    where an opened emergency access is used from, in memory; $XDG_RUNTIME_DIR/slipway-break-glass without it
# NAMES        yes: write the names of the holders in it into a file beside it
# LIMIT        the hosts, as in -l; without it those of prod, or all where a target only looks
# WEEKS        of how many weeks a report is; 12 without it
# CONFIRM      yes: do not ask
# FORMAT       json: as data, for programs
# OPTIONS      more options for every ansible-playbook, such as -i inventories/prod/hosts
APPLICATION ?=
SOURCE ?= examples/hello
RELEASE_ID ?=
TYPE ?= minor
BUILD_ID ?=
TICKETS ?=
ENVIRONMENT ?=
ROLE ?=
KEY ?= agent
HOSTS ?=
STATUS ?=
MANIFEST ?=
AUDIT ?=
HOURS ?=
MESSAGE ?=
OUTPUT ?=
FILE ?=
RENEW ?=
RUN ?=
STORE ?=
STORE_HOST ?=
NAME ?=
FIELD ?=
KIND ?=
BACK ?=
BY ?=
SINCE ?=
UNTIL ?=
LEFTOVERS ?=
FIRST ?=
SECOND ?=
DIRECTORY ?=
NAMES ?=
LIMIT ?=
WEEKS ?=
CONFIRM ?=
FORMAT ?= table
OPTIONS ?=

# What is given goes through a shell into variables that Ansible takes for templates: what means something to either is refused.
GIVEN := APPLICATION SOURCE RELEASE_ID TYPE BUILD_ID TICKETS ENVIRONMENT ROLE KEY HOSTS STATUS MANIFEST AUDIT HOURS MESSAGE OUTPUT FILE RENEW RUN \
	STORE STORE_HOST NAME FIELD KIND BACK BY SINCE UNTIL LEFTOVERS FIRST SECOND DIRECTORY NAMES LIMIT WEEKS CONFIRM FORMAT
UNSAFE := ' " ` { }
$(foreach name,$(GIVEN),$(foreach mark,$(UNSAFE),$(if $(findstring $(mark),$($(name))), \
	$(error $(name): expected a value without quotes and braces, found $($(name))))))

# One id for the whole of one pipeline, made once.
STAMP := $(shell date -u +%Y%m%d_%H%M%S)
PIPELINE_ID := $(or $(RELEASE_ID),release_$(STAMP))
PLAY := ansible-playbook $(OPTIONS)

application := $(APPLICATION)
release_source := $(SOURCE)
release_audit := {{ slipway_release_directory }}/audit_$(STAMP)
release_id := $(RELEASE_ID)
release_type := $(TYPE)
release_build_id := $(BUILD_ID)
release_store_path := $(STORE)
release_store_host := $(STORE_HOST)
approval_environment := $(ENVIRONMENT)
approval_role := $(ROLE)
approval_key := $(KEY)
approval_hosts := $(HOSTS)
approval_status := $(STATUS)
approval_manifest := $(MANIFEST)
approval_audit := $(AUDIT)
approval_valid_hours := $(HOURS)
lock_hours := $(HOURS)
lock_message := $(MESSAGE)
approval_output := $(OUTPUT)
approval_file := $(FILE)
approval_confirmed := $(CONFIRM)
state_file := $(FILE)
report_environment := $(ENVIRONMENT)
report_weeks := $(WEEKS)
report_page := $(OUTPUT)
state_confirmed := $(CONFIRM)
trust_file := $(FILE)
trust_key := $(KEY)
trust_confirmed := $(CONFIRM)
trust_renew := $(RENEW)
run_id := $(RUN)
secret_environment := $(ENVIRONMENT)
secret_name := $(NAME)
secret_field := $(FIELD)
secret_type := $(KIND)
secret_description := $(MESSAGE)
secret_file := $(FILE)
secret_key := $(filter-out agent,$(KEY))
secret_new_key := $(KEY)
secret_back := $(if $(filter yes,$(BACK)),true)
secret_by := $(BY)
secret_since := $(SINCE)
secret_until := $(UNTIL)
vault_role := $(ROLE)
vault_output := $(OUTPUT)
vault_file := $(FILE)
vault_leftovers := $(LEFTOVERS)
awx_left_over := $(LEFTOVERS)
break_glass_first := $(FIRST)
break_glass_second := $(SECOND)
break_glass_directory := $(DIRECTORY)
break_glass_reason := $(MESSAGE)
evidence_path := $(abspath $(OUTPUT))
evidence_names := $(if $(filter yes,$(NAMES)),true)
comma := ,
release_tickets := $(subst $() ,$(comma),$(strip $(TICKETS)))

ifneq ($(filter release-%,$(MAKECMDGOALS)),)
ifeq ($(filter major minor hotfix,$(TYPE)),)
$(error TYPE: expected major, minor or hotfix, found '$(TYPE)')
endif
endif
ifneq ($(filter %-status verify report,$(MAKECMDGOALS)),)
ifeq ($(filter table json,$(FORMAT)),)
$(error FORMAT: expected table or json, found '$(FORMAT)')
endif
endif

FAULT_TOOLS := for tool in strace:strace haproxy:haproxy mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs; do \
	PATH=$$PATH:/usr/sbin:/sbin command -v $${tool%:*} >/dev/null || $(PYTHON) -m lab install $${tool\#*:}; done

# $(call needs,names): each of these variables is given.
needs = $(foreach name,$(1),$(if $($(name)),,$(error $(name): expected a value, found none. The line above its default in the Makefile says what it is)))

# $(call vars,names): the variables of these names that are not empty, as extra variables.
vars = $(foreach name,$(1),$(if $($(name)),-e $(name)='"$($(name))"'))

# $(call confirm,does what): go on only when somebody says yes.
define confirm
if [ '$(CONFIRM)' = yes ]; then :; elif [ -t 0 ]; then \
	read -r -p "This $(1). Type 'yes' to go on: " answer; \
	[ "$$answer" = yes ] || { echo 'Not confirmed: nothing was done.' >&2; exit 1; }; \
else $(NOBODY_TO_ASK) \
fi
endef
NOBODY_TO_ASK := echo 'expected CONFIRM=yes, since there is no terminal to ask at; nothing was done.' >&2; exit 1;

# $(call tell,playbook,format): print nothing but its answer; all of its output when it fails without one.
define tell
answer=$$(mktemp) && log=$$(mktemp) && trap 'rm -f "$$answer" "$$log"' EXIT; \
$(PLAY) $(1) $(if $(LIMIT),-l '$(LIMIT)') $(call vars,application) -e release_status_format='$(2)' -e release_status_path="$$answer" >"$$log" 2>&1 \
	|| { [ -s "$$answer" ] && cat "$$answer" || cat "$$log" >&2; exit 1; }; \
cat "$$answer"
endef

.PHONY: help demo demo-alert test check lint types unit strike faults molecule e2e bench lab clean-lab venv dev docs lock
.PHONY: execution-environment execution-environment-contents
.PHONY: release-audit release-validate release-manifest release-deploy release-rollback release-status
.PHONY: trust-show trust-draft trust-sign trust-add trust-rotate
.PHONY: secrets-key secrets-encrypt secrets-rekey secrets-list secrets-get secrets-set secrets-flush secrets-access secrets-age secrets-rotate secrets-example
.PHONY: vault-plan vault-apply vault-issue vault-receive break-glass-seal break-glass-open break-glass-shut
.PHONY: approve approval-add approvals authorize-rollback key
.PHONY: state-backup state-restore report awx awx-plan awx-collection
.PHONY: publish deploy-staging deploy-prod promote abort-rollout rollback deploy-status verify evidence may-be-asked

# Steps have an order, whatever -j says: nothing is begun before it is known that somebody may be asked.
.NOTPARALLEL:

help: ## Show what there is to make
	@awk -F ':.*## ' '/^## / {print substr($$0, 4)} /^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## For a new machine
demo: ## From a fresh clone to a signed release on real hosts (under 5 minutes)
	@$(PYTHON) -m lab demo

demo-alert: venv ## After the demo: Prometheus, Alertmanager and agents on its hosts, and an application that stops becomes a page here
	@$(PYTHON) -m lab demo-alert

test: unit strike ## Everything: linters, types, unit tests, a sample of the faults, molecule and end-to-end tests on real hosts
	@judged=$$(mktemp); $(MAKE) lint types >"$$judged" 2>&1 & linters=$$!; \
	$(MAKE) molecule; hosts=$$?; wait $$linters; code=$$?; cat "$$judged"; rm "$$judged"; [ $$hosts = 0 ] && [ $$code = 0 ]
	@$(MAKE) e2e

## Parts of it
check: lint types unit ## The fast part of the tests, without hosts

lint: dev ## ruff, yamllint, ansible-lint
	ruff check .
	ruff format --check .
	yamllint --strict .
	check-jsonschema --quiet --builtin-schema vendor.github-workflows examples/ci/github.yml
	check-jsonschema --quiet --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci examples/ci/gitlab.yml
	ANSIBLE_INVENTORY=localhost, ansible-lint --offline --profile production

types: dev ## mypy
	mypy

unit: dev awx-collection ## pytest without hosts, with branch coverage
	@for tool in openssl strace haproxy chromium; do PATH="$$PATH:/usr/sbin" command -v $$tool >/dev/null || $(PYTHON) -m lab install $$tool; done
	@for verb in vault prometheus postgres; do $(VENV)/bin/python -m lab $$verb >/dev/null || exit 1; done
	pytest -q -n auto --dist worksteal --cov --cov-branch --cov-report= tests/unit tests/modules tests/contract tests/golden $(if $(AWX_URL),tests/live)
	coverage report
	coverage json -q -o - | $(VENV)/bin/python tests/coverage_gate.py

strike: dev ## a sample of the faults that `make faults` has at every point: killed, failed, full, without power
	@$(FAULT_TOOLS)
	pytest -q -n auto tests/faults

faults: dev ## Every fault at every point of every operation, also on real hosts (under 40 minutes); what `make test` samples
	@$(FAULT_TOOLS)
	SLIPWAY_FAULTS=all pytest -q -n auto tests/faults
	SLIPWAY_FAULTS=all pytest -q -n 2 --dist loadfile tests/e2e/test_strikes.py tests/e2e/test_module_strikes.py

molecule: dev ## molecule scenarios on real systemd hosts
	molecule test --all

e2e: $(VENV)/builder.stamp ## end-to-end tests on two labs of their own
	pytest -q -n 2 --dist loadfile tests/e2e

bench: dev ## Measure Slipway beside other tools, on 1, 8, 32 and hundreds of hosts of its own (about two hours), and write docs/benchmarks.md
	@for tool in rsync "cap:capistrano ruby-ed25519 ruby-bcrypt-pbkdf"; do command -v $${tool%:*} >/dev/null || $(PYTHON) -m lab install $${tool\#*:}; done
	$(VENV)/bin/python -m tests.bench --fresh
	$(VENV)/bin/python -m tests.bench --bundle large --hosts 1 --rounds 1 --peers rsync,pyinfra
	$(VENV)/bin/python -m tests.bench.fleet --fresh --hosts 50,100,200
	$(VENV)/bin/python -m tests.bench.history
	$(VENV)/bin/python -m tests.bench.approvals
	$(VENV)/bin/python -m tests.bench.agent
	$(VENV)/bin/python -m tests.bench.secrets
	$(VENV)/bin/python -m tests.bench.alerts

## The release pipeline; each step runs those before it (APPLICATION= SOURCE= RELEASE_ID= TYPE=major|minor|hotfix BUILD_ID= TICKETS= OPTIONS=)
release-audit: venv ## 1. Test the source and bundle the evidence: release/audit_<time>/
	@$(PLAY) playbooks/audit.yml $(call vars,application release_source release_audit release_build_id release_tickets)

release-validate: release-audit ## 2. Check the promotion checklist, validate, and deploy to prod in check mode
	@$(PLAY) playbooks/validate.yml $(call vars,application release_source release_audit release_type)
	@$(PLAY) deploy.yml --check --diff -l '$(or $(LIMIT),prod)' $(call vars,application) -e release_catalogue='{{ slipway_state_directory }}/candidate'

release-manifest: release-validate ## 3. Make the release and sign its manifest: release/manifests/<release_id>.yaml
	@$(PLAY) playbooks/release.yml $(call vars,application release_source release_audit release_build_id release_tickets release_type) \
		-e release_id='$(PIPELINE_ID)'

release-deploy: may-be-asked release-manifest ## 4. Deploy it to prod, or say which approvals it waits for
	@$(PLAY) playbooks/approvals.yml $(call vars,application) -e release_id='$(PIPELINE_ID)' -e approvals_required_in=prod || \
		{ echo 'The release is made and waits for its approvals. Then: make deploy-prod RELEASE_ID=$(PIPELINE_ID)' >&2; exit 1; }
	@$(call confirm,deploys $(PIPELINE_ID) to $(or $(LIMIT),prod))
	@$(PLAY) deploy.yml -l '$(or $(LIMIT),prod)' $(call vars,application) -e release_id='$(PIPELINE_ID)'

SIGN = $(PLAY) playbooks/approve.yml $(call vars,application release_id approval_environment approval_role approval_key approval_manifest \
	approval_audit approval_valid_hours approval_output approval_confirmed) \
	$(if $(filter authorize-rollback,$@),$(call vars,approval_hosts approval_status))

# Before an hour of audit and validation: is there anybody who could say yes afterwards?
may-be-asked:
	@[ '$(CONFIRM)' = yes ] || [ -t 0 ] || { $(NOBODY_TO_ASK) }

release-rollback: venv ## Take prod back to its previous good release (asks for a yes)
	@$(call confirm,takes $(or $(LIMIT),prod) back to $(or $(RELEASE_ID),its previous good release))
	@$(PLAY) rollback.yml -l '$(or $(LIMIT),prod)' $(call vars,application release_id)

release-status: venv ## What every host serves, what that is, who brought it, how long it is watched (FORMAT=json)
	@$(call tell,playbooks/status.yml,$(if $(filter json,$(FORMAT)),json,full))

## Approvals (RELEASE_ID= ENVIRONMENT= ROLE= KEY=FILE|agent|agent:NAME; MANIFEST= and OUTPUT= without the catalogue)
key: venv ## Say which public key KEY has, for the trust policy
	@$(PLAY) playbooks/key.yml $(call vars,approval_key)

approve: venv ## Show a release, ask for a yes, and sign that it may run in ENVIRONMENT
	@$(call needs,ENVIRONMENT ROLE)$(if $(MANIFEST),,$(call needs,RELEASE_ID))$(SIGN)

approval-add: venv ## Take in an approval or a rollback authorization that was sent (FILE=)
	@$(call needs,FILE)$(PLAY) playbooks/approval_add.yml $(call vars,approval_file)

approvals: venv ## Show for each environment which approvals a release has, lacks, and who can give them
	@$(call needs,RELEASE_ID)$(PLAY) playbooks/approvals.yml $(call vars,application release_id)

authorize-rollback: venv ## Sign that HOSTS may go back to a release that the policy does not let them go back to by itself
	@$(call needs,ENVIRONMENT ROLE HOSTS)$(if $(MANIFEST),,$(call needs,RELEASE_ID))$(SIGN)

## The trust policy (group_vars/all/trust.yml; docs/howto/rotate-the-trust-policy.md)
trust-draft: venv ## Draft its next version; the root keys that live here sign it (RENEW=yes: only its times)
	@$(PLAY) playbooks/trust_draft.yml $(call vars,trust_renew)

trust-show: venv ## Show all that the version in force here says: keys, thresholds, environments
	@$(PLAY) playbooks/trust_sign.yml -e trust_file='{{ trust_policy_path }}'

trust-sign: venv ## Show what a draft changes, ask for a yes, and sign it with the key of a root holder (FILE= KEY=)
	@$(call needs,FILE)$(PLAY) playbooks/trust_sign.yml $(call vars,trust_file trust_key trust_confirmed)

trust-add: venv ## Take in a draft that others have signed (FILE=)
	@$(call needs,FILE)$(PLAY) playbooks/trust_sign.yml $(call vars,trust_file)

trust-rotate: venv ## Bring every host to the newest version; what is served goes on (LIMIT=)
	@$(PLAY) playbooks/trust.yml $(if $(LIMIT),-l '$(LIMIT)')

## Secrets (ENVIRONMENT= NAME= FIELD= KIND= FILE= KEY=; docs/howto/secrets.md)
secrets-key: venv ## Make a key and an empty encrypted store, each where there is none (KEY=)
	@$(PLAY) playbooks/secrets_store.yml $(call vars,secret_environment secret_key)

secrets-encrypt: venv ## Take a .env or JSON file into the encrypted store (FILE=)
	@$(call needs,FILE)$(PLAY) playbooks/secrets_store.yml $(call vars,secret_environment secret_file secret_key)

secrets-rekey: venv ## Encrypt the store with another key, which is made where there is none (KEY=)
	@$(if $(secret_key),,$(error KEY: expected the file of the new key, found none))$(PLAY) playbooks/secrets_store.yml \
		$(call vars,secret_environment secret_new_key)

secrets-list: venv ## Which secrets there are and which are missing; no values
	@$(PLAY) playbooks/secrets.yml $(call vars,secret_environment)

secrets-example: venv ## Write .env.example, with every variable that is declared (OUTPUT=)
	@$(PLAY) playbooks/secrets.yml $(call vars,secret_environment) -e secret_example_path='$(or $(OUTPUT),.env.example)'

secrets-set: venv ## Set a secret at the first provider; asks for its fields without FILE (NAME= KIND= MESSAGE= FILE=)
	@$(call needs,NAME)$(PLAY) playbooks/secret.yml $(call vars,secret_environment secret_name secret_type secret_description secret_file)

secrets-get: venv ## Print a field of a secret, or write it to OUTPUT (NAME= FIELD=)
	@$(call needs,NAME)umask 077; directory=$$(mktemp -d -p "$${XDG_RUNTIME_DIR:-/dev/shm}") && trap 'rm -rf "$$directory"' EXIT; \
	$(PLAY) playbooks/secret.yml $(call vars,secret_environment secret_name secret_field) -e secret_state=exported \
		-e secret_output="$(or $(OUTPUT),$$directory/value)" >"$$directory/log" 2>&1 || { cat "$$directory/log" >&2; exit 1; }; \
	[ -n '$(OUTPUT)' ] || cat "$$directory/value"

secrets-flush: venv ## Forget what is cached of secrets
	@$(PLAY) playbooks/secret.yml $(call vars,secret_environment) -e secret_state=flushed

secrets-age: venv ## How old they are, and which are older than they may get (FORMAT=json)
	@answer=$$(mktemp) && log=$$(mktemp) && trap 'rm -f "$$answer" "$$log"' EXIT; \
	$(PLAY) playbooks/secrets_age.yml $(call vars,secret_environment) -e secret_format='$(FORMAT)' -e secret_age_path="$$answer" >"$$log" 2>&1 \
		|| { cat "$$log" >&2; exit 1; }; \
	cat "$$answer"

secrets-rotate: venv ## Rotate what is due, or NAME, and retire the old versions when every host is well (asks for a yes; BACK=yes: take it back)
	@$(call confirm,$(if $(filter yes,$(BACK)),takes back the rotation of,rotates) $(or $(NAME),what is due) on $(or $(LIMIT),prod))
	@$(PLAY) playbooks/rotate_secrets.yml -l '$(or $(LIMIT),prod)' $(call vars,application secret_name secret_file secret_back)

state-backup: venv ## Write all that this controller remembers to a new file (FILE=); no key is in it
	@$(call needs,FILE)$(PLAY) playbooks/state_backup.yml $(call vars,state_file)

state-restore: venv ## Put such a file back (FILE=); CONFIRM=yes where something would be lost
	@$(call needs,FILE)$(PLAY) playbooks/state_restore.yml $(call vars,state_file state_confirmed)

secrets-access: venv ## Who asked for which secret, and when (NAME= BY= SINCE= UNTIL=)
	@$(PLAY) playbooks/secrets_access.yml $(call vars,secret_name secret_by secret_since secret_until)

## Who may do what at Vault, and the emergency access (docs/howto/vault-access.md, docs/runbooks/break-glass.md)
vault-plan: venv ## Show what vault-apply would change at Vault
	@$(PLAY) playbooks/vault.yml --check --diff $(call vars,secret_environment vault_leftovers)

vault-apply: venv ## Bring policies and AppRoles to Vault as vault_roles say (LEFTOVERS=removed)
	@$(PLAY) playbooks/vault.yml $(call vars,secret_environment vault_leftovers)

vault-issue: venv ## Issue a wrapped secret id for a role (ROLE= OUTPUT=)
	@$(call needs,ROLE OUTPUT)$(PLAY) playbooks/vault_credential.yml $(call vars,secret_environment vault_role vault_output)

vault-receive: venv ## Take one that was sent to where the provider looks for it (FILE=)
	@$(call needs,FILE)$(PLAY) playbooks/vault_credential.yml $(call vars,secret_environment vault_file)

GLASS = $(PLAY) playbooks/break_glass.yml $(call vars,secret_environment break_glass_first break_glass_second break_glass_directory break_glass_reason) \
	-e break_glass_state=

break-glass-seal: venv ## Make the two halves of the emergency access anew (FIRST= SECOND= MESSAGE=)
	@$(call needs,FIRST SECOND MESSAGE)$(GLASS)sealed

break-glass-open: venv ## Open it with both halves, for minutes; everything about it is noted (FIRST= SECOND= MESSAGE=)
	@$(call needs,FIRST SECOND MESSAGE)$(GLASS)opened

break-glass-shut: venv ## End it, and prove that (DIRECTORY=)
	@$(GLASS)shut

## Deployments of releases that are there (APPLICATION= RELEASE_ID=)
publish: venv ## Publish what is missing of the catalogue's releases to an artifact store (STORE= STORE_HOST=)
	@$(call needs,STORE)$(PLAY) playbooks/publish.yml $(call vars,application release_id release_store_path release_store_host)

deploy-staging: venv ## Deploy the newest release to staging
	@$(PLAY) deploy.yml -l '$(or $(LIMIT),staging)' -e release_environment=staging $(call vars,application release_id)

deploy-prod: venv ## Deploy it to prod (asks for a yes)
	@$(call confirm,deploys $(or $(RELEASE_ID),the newest release) to $(or $(LIMIT),prod))
	@$(PLAY) deploy.yml -l '$(or $(LIMIT),prod)' -e release_environment=prod $(call vars,application release_id)

rollback: venv ## Take the newest deployment run back, on the hosts that it touched (asks for a yes)
	@$(call confirm,takes the newest deployment run back)
	@$(PLAY) rollback.yml $(if $(LIMIT),-l '$(LIMIT)') $(call vars,application release_id)

promote: venv ## Let a rollout that is held go on (RUN=; not needed while there is only one)
	@$(PLAY) playbooks/promote.yml $(call vars,run_id)

abort-rollout: venv ## Let it go back everywhere
	@$(PLAY) playbooks/promote.yml $(call vars,run_id) -e promote_decision=abort

deploy-locks: venv ## Who keeps deployments away, and why
	@$(PLAY) playbooks/lock.yml $(if $(LIMIT),-l '$(LIMIT)') $(call vars,application)

deploy-lock: venv ## Let nothing be deployed to prod; a rollback works all the same (MESSAGE= HOURS=)
	@$(call needs,MESSAGE)$(PLAY) playbooks/lock.yml -l '$(or $(LIMIT),prod)' $(call vars,application lock_message lock_hours) -e lock_state=taken

deploy-unlock: venv ## Let deployments go to prod again
	@$(PLAY) playbooks/lock.yml -l '$(or $(LIMIT),prod)' $(call vars,application) -e lock_state=released

recover: venv ## Settle what interrupted runs left open on hosts
	@$(PLAY) playbooks/recover.yml $(if $(LIMIT),-l '$(LIMIT)') $(call vars,application)

deploy-status: venv ## The newest five deployments and rollbacks (FORMAT=json)
	@$(call tell,playbooks/history.yml,$(FORMAT))

report: venv ## How often, how fast and how well is delivered (ENVIRONMENT= WEEKS= FORMAT=json OUTPUT=page.html); asks no host
	@$(call tell,playbooks/report.yml $(call vars,report_environment report_weeks report_page),$(FORMAT))

verify: venv ## Verify that every host is what was signed and witnessed
	@$(call tell,playbooks/verify.yml,$(FORMAT))

evidence: venv ## Everything that proves a run, as one archive for auditors (RUN= OUTPUT= NAMES=yes)
	@$(PLAY) playbooks/evidence.yml $(if $(LIMIT),-l '$(LIMIT)') $(call vars,application run_id evidence_path evidence_names)

## AWX (CONTROLLER_HOST and CONTROLLER_OAUTH_TOKEN in the environment; docs/howto/awx.md)
awx-plan: awx-collection ## Show what `make awx` would change at AWX, and what is left over there
	@$(PLAY) -i localhost, playbooks/awx.yml --check

awx: awx-collection ## Bring AWX to what awx/ says (LEFTOVERS=removed: also remove what was made from it and is not in it any more)
	@$(PLAY) -i localhost, playbooks/awx.yml $(call vars,awx_left_over)

awx-collection: $(VENV)/awx.stamp ## Fetch the collection awx.awx, whose modules do that
	@:

## Watching (LIMIT=; docs/howto/watch.md)
heartbeat: venv ## Let hosts watch themselves, and bring changes of heartbeat_checks and heartbeat_channels to them
	@$(PLAY) playbooks/heartbeat.yml $(if $(LIMIT),-l '$(LIMIT)')

test-alert: venv ## Send one message through every enabled channel of every host, and say which took it
	@$(PLAY) playbooks/test_alert.yml $(if $(LIMIT),-l '$(LIMIT)')

## Hosts, figures, upkeep
lab: ## Bring the lab up: 1 staging and 3 prod hosts (again and again is fine)
	@$(PYTHON) -m lab up

clean-lab: ## Remove everything of this clone's labs
	@$(PYTHON) -m lab clean

execution-environment: $(VENV)/builder.stamp ## Build the image that AWX, ansible-navigator and ansible-runner run playbooks in (EE_BASE_IMAGE=)
	@$(VENV)/bin/python -m ee build

execution-environment-contents: $(VENV)/builder.stamp ## Every package in it, with its version, as JSON
	@$(VENV)/bin/python -m ee contents

venv: $(VENV)/controller.stamp ## Make the virtual environment with what the controller runs
	@:

dev: $(VENV)/dev.stamp ## Add what developing and testing need
	@:

docs: dev ## Write docs/reference and the dashboards anew from the source
	python docs/generate.py
	python -m dashboards

lock: venv ## Write requirements/*.lock anew from pyproject.toml
	@test -x $(VENV)/bin/uv || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) pyproject.toml -o requirements/controller.lock
	$(LOCK) --extra dev -c requirements/controller.lock pyproject.toml -o requirements/dev.lock
	$(LOCK) requirements/bench.in -o requirements/bench.lock
	$(LOCK) -c requirements/dev.lock requirements/builder.in -o requirements/builder.lock
	$(LOCK) --extra execution-environment -c requirements/dev.lock -c requirements/builder.lock pyproject.toml -o requirements/execution-environment.lock
	$(LOCK) --no-deps requirements/awx.in -o requirements/awx.lock

$(VENV)/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "expected Python 3.11 to 3.13; found $$($(PYTHON) -V). Use make PYTHON=python3.12, for example."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(PYTHON) -m lab install python3-venv
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/controller.stamp: requirements/controller.lock | $(VENV)/made.stamp
	@$(PYTHON) -m lab step "installing the controller's packages" -- $(PIP) -r $<
	@touch $@

$(VENV)/awx.stamp: requirements/awx.lock | $(VENV)/controller.stamp
	@$(VENV)/bin/python -m lab awx-collection >/dev/null
	@touch $@

# The development lock contains the controller's, at the same versions.
$(VENV)/dev.stamp: requirements/dev.lock | $(VENV)/made.stamp
	@$(PYTHON) -m lab step "installing the development packages" -- $(PIP) -r $<
	@touch $@ $(VENV)/controller.stamp

# At the versions of the development packages, as far as they are among those.
$(VENV)/builder.stamp: requirements/builder.lock $(VENV)/dev.stamp
	@$(PYTHON) -m lab step "installing what builds execution environments" -- $(PIP) -r $<
	@touch $@
