# The store of apps, keys, limits and budgets: a database of its own, paid for by the operation.

resource "google_firestore_database" "store" {
  name                              = "${var.name}-store"
  location_id                       = var.region
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "OPTIMISTIC"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED" # back to any minute of the last seven days
  delete_protection_state           = var.deletion_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy                   = "DELETE" # by default, destroy would leave it

  depends_on = [google_project_service.this]
}

# Documents are deleted some time after the moment that they hold in this field.
resource "google_firestore_field" "expire_at" {
  database   = google_firestore_database.store.name
  collection = "trefoil_items"
  field      = "expire_at"

  ttl_config {}
  index_config {}
}

# Documents are read by their names alone; indexes of these fields would be paid for at every write.
resource "google_firestore_field" "unindexed" {
  for_each = toset(["value", "counters", "marks", "writers"])

  database   = google_firestore_database.store.name
  collection = google_firestore_field.expire_at.collection
  field      = each.key

  index_config {}
}

resource "google_project_iam_member" "function_uses_store" {
  project = var.account
  role    = "roles/datastore.user"
  member  = google_service_account.function.member

  # https://docs.cloud.google.com/firestore/native/docs/security/iam
  condition {
    title      = "only-${google_firestore_database.store.name}"
    expression = "resource.name == \"projects/${var.account}/databases/${google_firestore_database.store.name}\""
  }
}
