# The operator's keys go from ephemeral variables into Secret Manager by write-only arguments: they are in no state and no plan.

locals {
  given_secrets = merge(var.extra_secrets, { OPENAI_API_KEY = var.openai_api_key, TREFOIL_ADMIN_KEY = var.admin_key })
  secret_values = { for name in var.secret_names : name => try(coalesce(local.given_secrets[name]), null) }
}

resource "google_secret_manager_secret" "this" {
  for_each = var.secret_names

  secret_id = "${var.name}-${each.key}"

  replication {
    auto {}
  }

  depends_on = [google_project_service.this]
}

resource "google_secret_manager_secret_version" "this" {
  for_each = var.secret_names

  secret                 = google_secret_manager_secret.this[each.key].id
  secret_data_wo         = try(coalesce(local.secret_values[each.key]), "none") # `destroy` is run without secrets
  secret_data_wo_version = var.secrets_version

  lifecycle {
    create_before_destroy = true # instances that start meanwhile find the version that they were made with

    precondition {
      condition     = local.secret_values[each.key] != null
      error_message = "${each.key} has no value: set TF_VAR_openai_api_key and TF_VAR_admin_key, and TF_VAR_extra_secrets for the other secret_names."
    }
  }
}

resource "google_secret_manager_secret_iam_member" "function_reads_secret" {
  for_each = var.secret_names

  secret_id = google_secret_manager_secret.this[each.key].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function.member
}
