# The store of apps, keys, limits and budgets: one container, paid for by the request.

resource "azurerm_cosmosdb_account" "store" {
  #checkov:skip=CKV_AZURE_99:the function has no network of its own (it would cost a fixed sum); only Entra identities with a role get in
  #checkov:skip=CKV_AZURE_101:as above
  #checkov:skip=CKV_AZURE_140:it is off; checkov looks for local_authentication_disabled, which the provider has renamed
  #checkov:skip=CKV_AZURE_100:Microsoft's keys encrypt it at rest; a key of one's own is a matter of the organisation's policy
  name                = local.unique_name
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  tags                = var.tags
  offer_type          = "Standard"
  kind                = "GlobalDocumentDB"

  # There are keys, but none that the account takes: identities with a role only.
  local_authentication_enabled       = false
  access_key_metadata_writes_enabled = false
  minimal_tls_version                = "Tls12"

  capabilities {
    name = "EnableServerless"
  }

  consistency_policy {
    consistency_level = "Session"
  }

  # Exactly one region is written to: a conditional PATCH is checked against what there is in its own region, and budgets
  # must not be overspent.
  multiple_write_locations_enabled = false
  automatic_failover_enabled       = false
  geo_location {
    location          = azurerm_resource_group.this.location
    failover_priority = 0
    zone_redundant    = false
  }

  # Back to any second of the last seven days; this tier's backups cost nothing.
  backup {
    type = "Continuous"
    tier = "Continuous7Days"
  }
}

resource "azurerm_cosmosdb_sql_database" "trefoil" {
  name                = "trefoil"
  resource_group_name = azurerm_resource_group.this.name
  account_name        = azurerm_cosmosdb_account.store.name
}

resource "azurerm_cosmosdb_sql_container" "store" {
  name                  = "store"
  resource_group_name   = azurerm_resource_group.this.name
  account_name          = azurerm_cosmosdb_account.store.name
  database_name         = azurerm_cosmosdb_sql_database.trefoil.name
  partition_key_paths   = ["/partition"]
  partition_key_version = 2
  default_ttl           = -1 # an item is deleted where it says so

  # Items are read by their id, and listed by their partition; an index of more would be paid for at every write.
  indexing_policy {
    indexing_mode = "consistent"

    included_path {
      path = "/partition/?"
    }
    excluded_path {
      path = "/*"
    }
  }
}

# Cosmos DB's own "Built-in Data Contributor": items of this one database, no settings, no keys.
resource "azurerm_cosmosdb_sql_role_assignment" "function" {
  resource_group_name = azurerm_resource_group.this.name
  account_name        = azurerm_cosmosdb_account.store.name
  role_definition_id  = "${azurerm_cosmosdb_account.store.id}/sqlRoleDefinitions/00000000-0000-0000-0000-000000000002"
  principal_id        = local.function_principal_id
  scope               = "${azurerm_cosmosdb_account.store.id}/dbs/${azurerm_cosmosdb_sql_database.trefoil.name}"
}

resource "azurerm_management_lock" "store" {
  count = var.deletion_protection ? 1 : 0

  name       = "keep-the-store"
  scope      = azurerm_cosmosdb_account.store.id
  lock_level = "CanNotDelete"
  notes      = "Holds Trefoil's apps, keys and budgets: set deletion_protection to false, and apply, to delete it."
}

# The lock keeps others from deleting the store, but Terraform would delete the lock first. This is destroyed before the
# container, and refuses.
resource "terraform_data" "protection" {
  input = var.deletion_protection

  depends_on = [azurerm_cosmosdb_sql_container.store]

  provisioner "local-exec" {
    when    = destroy
    command = self.output ? "echo 'deletion_protection keeps the store: set it to false, and apply' >&2 && exit 1" : "exit 0"
  }
}
