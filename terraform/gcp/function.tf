# The function: a Cloud Run service that Google builds from the zip. It has startup CPU boost as every function of this
# generation has; the API knows no argument for it.

locals {
  url = google_cloudfunctions2_function.this.service_config[0].uri

  store_settings = {
    TREFOIL_STORE                   = "firestore:${var.account}/${google_firestore_database.store.name}"
    TREFOIL_REQUEST_TIMEOUT_SECONDS = tostring(var.timeout_seconds)
  }

  platform_settings = {
    LOG_EXECUTION_ID = "true" # what Google sets by itself: left out, every plan would take it away
  }
}

# What the function can do is what the roles on this account say: its database, its secrets. It writes logs to standard
# output, for which no role is needed.
resource "google_service_account" "function" {
  account_id   = "${var.name}-run"
  display_name = "Runs ${var.name}"

  depends_on = [google_project_service.this]
}

resource "google_cloudfunctions2_function" "this" {
  #checkov:skip=CKV_GCP_124:it is a public API, whose callers have app keys
  name        = var.name
  location    = var.region
  description = "Trefoil, an OpenAI wrapper API."

  build_config {
    runtime           = "python313"
    entry_point       = "gateway"
    docker_repository = google_artifact_registry_repository.images.id
    service_account   = google_service_account.build.id

    source {
      storage_source {
        bucket = google_storage_bucket.code.name
        object = google_storage_bucket_object.code.name
      }
    }
  }

  service_config {
    available_cpu                    = "1" # with less, an instance takes one request at a time
    available_memory                 = "${var.memory_mb}Mi"
    timeout_seconds                  = var.timeout_seconds
    max_instance_request_concurrency = var.concurrency
    min_instance_count               = var.min_instances
    max_instance_count               = coalesce(var.max_instances, 100)
    ingress_settings                 = "ALLOW_ALL"
    all_traffic_on_latest_revision   = true
    service_account_email            = google_service_account.function.email
    environment_variables            = merge(var.environment, local.store_settings, local.platform_settings)

    dynamic "secret_environment_variables" {
      for_each = var.secret_names
      content {
        key        = secret_environment_variables.key
        project_id = var.account
        secret     = google_secret_manager_secret.this[secret_environment_variables.key].secret_id
        version    = google_secret_manager_secret_version.this[secret_environment_variables.key].version
      }
    }
  }

  # New roles take a minute to be known everywhere; the database's fields take longer to make.
  depends_on = [
    google_artifact_registry_repository_iam_member.build_writes_image,
    google_firestore_field.expire_at,
    google_firestore_field.unindexed,
    google_project_iam_member.build_reads_copies,
    google_project_iam_member.build_writes_logs,
    google_project_iam_member.function_uses_store,
    google_secret_manager_secret_iam_member.function_reads_secret,
    google_storage_bucket_iam_member.build_reads_code,
  ]
}

resource "google_cloud_run_service_iam_member" "invokers" {
  #checkov:skip=CKV_GCP_102:it is a public API, whose callers have app keys
  for_each = var.invokers

  location = google_cloudfunctions2_function.this.location
  service  = google_cloudfunctions2_function.this.name
  role     = "roles/run.invoker"
  member   = each.key
}
