# A deployment: copy this file, change it, and: make deploy CLOUD=aws VARS=my.tfvars
# The same file serves all three clouds; only region and account differ. terraform/aws/variables.tf describes each.
# No secrets here: they come from TF_VAR_openai_api_key, TF_VAR_admin_key and TF_VAR_extra_secrets.

name    = "trefoil"
region  = "eu-central-1" # Azure: "westeurope"; Google Cloud: "europe-west1"
account = "123456789012" # Azure: the subscription's id; Google Cloud: the project's id

# config_file  = "my.toml"
# alarm_email  = "ops@example.com"
# tags         = { team = "platform" }
# environment  = { OPENAI_ORG_ID = "org-..." }
# secret_names = ["OPENAI_API_KEY", "TREFOIL_ADMIN_KEY", "AZURE_OPENAI_API_KEY"]

# memory_mb           = 512
# timeout_seconds     = 600
# concurrency         = 20
# min_instances       = 0
# max_instances       = 5
# log_retention_days  = 365
# deletion_protection = false
