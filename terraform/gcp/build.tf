# How the zip becomes an image: Cloud Build, with an identity that can do no more than that.

locals {
  package_path = coalesce(var.package_path, "${path.module}/../../build/gcp.zip")
  package_hash = fileexists(local.package_path) ? filesha256(local.package_path) : "none" # `destroy` is run without a package
}

resource "google_storage_bucket" "code" {
  #checkov:skip=CKV_GCP_62:who reads the code is of no interest
  #checkov:skip=CKV_GCP_78:an object's name says what is in it, so that there is one version of each
  name                        = "${var.account}-${var.name}-code"
  location                    = var.region
  force_destroy               = true
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  depends_on = [google_project_service.this]
}

resource "google_storage_bucket_object" "code" {
  # Another content is another name, and another name makes Google build.
  name   = "trefoil-${local.package_hash}.zip"
  bucket = google_storage_bucket.code.name
  source = local.package_path

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = fileexists(local.package_path)
      error_message = "There is no ${local.package_path}: run `make package CLOUD=gcp`."
    }
  }
}

resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:Google's keys encrypt it at rest; a key of one's own is a matter of the organisation's policy
  repository_id = var.name
  location      = var.region
  format        = "DOCKER"
  description   = "What Cloud Build makes of Trefoil's code."

  # The latest few are there to go back to.
  cleanup_policies {
    id     = "keep-five"
    action = "KEEP"
    most_recent_versions {
      keep_count = 5
    }
  }
  cleanup_policies {
    id     = "delete-older"
    action = "DELETE"
    condition {
      older_than = "86400s"
      tag_state  = "ANY"
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_service_account" "build" {
  account_id   = "${var.name}-build"
  display_name = "Builds ${var.name}"

  depends_on = [google_project_service.this]
}

resource "google_storage_bucket_iam_member" "build_reads_code" {
  bucket = google_storage_bucket.code.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.build.member
}

# Google may build from a copy of the code, in a bucket of its own in the project.
resource "google_project_iam_member" "build_reads_copies" {
  project = var.account
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title      = "only-copies-of-function-sources"
    expression = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-\")"
  }
}

resource "google_artifact_registry_repository_iam_member" "build_writes_image" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

resource "google_project_iam_member" "build_writes_logs" {
  project = var.account
  role    = "roles/logging.logWriter" # there is no narrower place for it
  member  = google_service_account.build.member
}
