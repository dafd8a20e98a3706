# What the deployment promises, on the provider's schema alone: `terraform init && terraform test`.

mock_provider "google" {
  mock_resource "google_cloudfunctions2_function" {
    defaults = {
      service_config = { uri = "https://trefoil-xyz-ew.a.run.app" }
    }
  }
  mock_resource "google_service_account" {
    defaults = {
      id     = "projects/my-project/serviceAccounts/x@my-project.iam.gserviceaccount.com"
      email  = "x@my-project.iam.gserviceaccount.com"
      member = "serviceAccount:x@my-project.iam.gserviceaccount.com"
    }
  }
  mock_resource "google_artifact_registry_repository" {
    defaults = { id = "projects/my-project/locations/europe-west1/repositories/trefoil" }
  }
  mock_resource "google_secret_manager_secret" {
    defaults = { id = "projects/my-project/secrets/x" }
  }
  mock_resource "google_secret_manager_secret_version" {
    defaults = { version = "7" }
  }
  mock_resource "google_monitoring_dashboard" {
    defaults = { id = "projects/123456789012/dashboards/00000000-0000-0000-0000-0000000000b0" }
  }
}

variables {
  account        = "my-project"
  region         = "europe-west1"
  package_path   = "tests/stand-in.zip"
  openai_api_key = "sk-of-the-test"
  admin_key      = "0123456789abcdef0123456789abcdef"
  extra_secrets  = {} # Terraform 1.11 cannot apply an ephemeral default in a test
}

run "contract" {
  variables {
    alarm_email         = "operator@example.com"
    deletion_protection = true
    environment         = { OPENAI_ORG_ID = "org-x" }
    max_instances       = 3
    memory_mb           = 2048
    min_instances       = 1
    tags                = { team = "platform" }
    timeout_seconds     = 345
  }

  assert {
    condition     = startswith(output.url, "https://") && !endswith(output.url, "/")
    error_message = "url must be https without a slash at the end: ${output.url}"
  }
  assert {
    condition     = output.openai_base_url == "${output.url}/v1"
    error_message = "openai_base_url must be the url with /v1: ${output.openai_base_url}"
  }
  assert {
    condition     = strcontains(output.create_first_key_command, "$TF_VAR_admin_key") && !strcontains(output.create_first_key_command, var.admin_key)
    error_message = "The admin key must be read from the environment."
  }
  assert {
    condition = google_cloudfunctions2_function.this.service_config[0].environment_variables == tomap({
      TREFOIL_STORE                   = "firestore:my-project/trefoil-store"
      TREFOIL_REQUEST_TIMEOUT_SECONDS = "345"
      OPENAI_ORG_ID                   = "org-x"
      LOG_EXECUTION_ID                = "true"
    })
    error_message = "The variables must be the function's own, the operator's, and no secret."
  }
  assert {
    condition     = toset(google_cloudfunctions2_function.this.service_config[0].secret_environment_variables[*].key) == var.secret_names
    error_message = "Each secret must be a reference to Secret Manager."
  }
  assert {
    condition     = alltrue([for secret in google_cloudfunctions2_function.this.service_config[0].secret_environment_variables : can(tonumber(secret.version))])
    error_message = "A secret's version must be a number: an instance keeps what it started with."
  }
  assert {
    condition = alltrue([
      google_cloudfunctions2_function.this.service_config[0].max_instance_request_concurrency == 20,
      google_cloudfunctions2_function.this.service_config[0].max_instance_count == 3,
      google_cloudfunctions2_function.this.service_config[0].min_instance_count == 1,
      google_cloudfunctions2_function.this.service_config[0].available_memory == "2048Mi",
      google_cloudfunctions2_function.this.service_config[0].timeout_seconds == 345,
    ])
    error_message = "The limits must reach the function."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.build_config[0].runtime == "python313" && google_cloudfunctions2_function.this.build_config[0].entry_point == "gateway"
    error_message = "Google must build what gcp/main.py is."
  }
  assert {
    condition     = strcontains(google_storage_bucket_object.code.name, filesha256(var.package_path))
    error_message = "The code's name must say what is in it, or another package would not be built."
  }
  assert {
    condition = alltrue([
      google_firestore_database.store.type == "FIRESTORE_NATIVE",
      google_firestore_database.store.deletion_policy == "DELETE",
      google_firestore_database.store.delete_protection_state == "DELETE_PROTECTION_ENABLED",
      length(google_firestore_field.expire_at.ttl_config) == 1,
      google_firestore_field.expire_at.collection == "trefoil_items",
      toset(keys(google_firestore_field.unindexed)) == toset(["value", "counters", "marks", "writers"]),
    ])
    error_message = "The store must be the one that gcp/firestore_store.py asks for."
  }
  assert {
    condition     = google_project_iam_member.function_uses_store.condition[0].expression == "resource.name == \"projects/my-project/databases/trefoil-store\""
    error_message = "The function's role in Firestore must be for its one database."
  }
  assert {
    condition     = length(google_monitoring_notification_channel.operator) == 1
    error_message = "Alarms must reach the operator."
  }
}

run "plain" {
  command = plan

  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].min_instance_count == 0
    error_message = "Nothing may cost anything while nothing is asked."
  }
  assert {
    condition     = google_firestore_database.store.delete_protection_state == "DELETE_PROTECTION_DISABLED"
    error_message = "Protection comes only when it is asked for."
  }
}

run "private" {
  command = plan
  variables {
    invokers = ["serviceAccount:shop@my-project.iam.gserviceaccount.com"]
  }
  assert {
    condition     = toset(keys(google_cloud_run_service_iam_member.invokers)) == var.invokers
    error_message = "Only the invokers may send requests."
  }
}

run "refuses_secrets_without_a_value" {
  command = plan
  variables {
    secret_names = ["OPENAI_API_KEY", "TREFOIL_ADMIN_KEY", "OTHER_API_KEY"]
  }
  expect_failures = [google_secret_manager_secret_version.this]
}

run "refuses_a_secret_in_plain_settings" {
  command = plan
  variables {
    environment = { OTHER_API_KEY = "sk-x" }
  }
  expect_failures = [var.environment]
}

run "refuses_a_memory_that_not_all_clouds_have" {
  command = plan
  variables {
    memory_mb = 300
  }
  expect_failures = [var.memory_mb]
}

run "refuses_invokers_that_are_none" {
  command = plan
  variables {
    invokers = ["everyone"]
  }
  expect_failures = [var.invokers]
}

run "refuses_a_package_that_is_not_there" {
  command = plan
  variables {
    package_path = "tests/none.zip"
  }
  expect_failures = [google_storage_bucket_object.code]
}
