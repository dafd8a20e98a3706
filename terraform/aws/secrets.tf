# One secret for all: a JSON object of environment variables, which aws/secretsmanager_secrets.py reads.

locals {
  secret_values = merge(var.extra_secrets, { OPENAI_API_KEY = var.openai_api_key, TREFOIL_ADMIN_KEY = var.admin_key })
}

resource "aws_secretsmanager_secret" "environment" {
  #checkov:skip=CKV_AWS_149: encrypted with AWS's own key; one of the account's would cost a dollar a month more
  #checkov:skip=CKV2_AWS_57: OpenAI has no API that could rotate its key

  name        = "${var.name}/environment"
  description = "The secrets of the function ${var.name}, by the environment variable that each stands for"
  # What is in it is the operator's own and can be given again: it need not outlive `make destroy`.
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "environment" {
  secret_id                = aws_secretsmanager_secret.environment.id
  secret_string_wo         = jsonencode({ for name in var.secret_names : name => lookup(local.secret_values, name, null) })
  secret_string_wo_version = var.secrets_version

  lifecycle {
    precondition {
      condition     = alltrue([for name in var.secret_names : lookup(local.secret_values, name, null) != null])
      error_message = "A secret has no value: set TF_VAR_openai_api_key (OPENAI_API_KEY), TF_VAR_admin_key (TREFOIL_ADMIN_KEY) and TF_VAR_extra_secrets (what else secret_names names)."
    }
  }
}
