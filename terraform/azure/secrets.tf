# The operator's keys go from ephemeral variables into the vault by write-only arguments: they are in no state and no plan.

locals {
  given_secrets = merge(var.extra_secrets, { OPENAI_API_KEY = var.openai_api_key, TREFOIL_ADMIN_KEY = var.admin_key })
  secret_values = { for name in var.secret_names : name => try(coalesce(local.given_secrets[name]), null) }
  vault_name    = "kv-${trimsuffix(substr(local.unique_name, 0, 21), "-")}" # 24 characters at most
}

resource "azurerm_key_vault" "secrets" {
  #checkov:skip=CKV_AZURE_42:`make destroy` must leave nothing behind; the operator has the keys
  #checkov:skip=CKV_AZURE_110:as above
  #checkov:skip=CKV_AZURE_109:the function has no network of its own, and its references are resolved by App Service; only identities with a role get in
  #checkov:skip=CKV_AZURE_189:as above
  #checkov:skip=CKV2_AZURE_32:as above
  name                       = local.vault_name
  resource_group_name        = azurerm_resource_group.this.name
  location                   = azurerm_resource_group.this.location
  tags                       = var.tags
  tenant_id                  = data.azurerm_client_config.deployer.tenant_id
  sku_name                   = "standard"
  rbac_authorization_enabled = true
  purge_protection_enabled   = false
  soft_delete_retention_days = 7
}

# Owning the subscription is not enough to write a secret.
resource "azurerm_role_assignment" "deployer_writes_secrets" {
  scope                = azurerm_key_vault.secrets.id
  role_definition_name = "Key Vault Secrets Officer"
  principal_id         = data.azurerm_client_config.deployer.object_id
}

resource "azurerm_key_vault_secret" "this" {
  #checkov:skip=CKV_AZURE_41:OpenAI's keys have no end; an expired secret would stop the service at night
  for_each = var.secret_names

  name             = replace(each.key, "_", "-") # a vault's names have no underscores
  key_vault_id     = azurerm_key_vault.secrets.id
  tags             = var.tags
  content_type     = "text/plain"
  value_wo         = try(coalesce(local.secret_values[each.key]), "none") # `destroy` is run without secrets
  value_wo_version = var.secrets_version

  # A new role is known everywhere after a minute or so; the store takes longer to make.
  depends_on = [azurerm_role_assignment.deployer_writes_secrets, azurerm_cosmosdb_sql_container.store]

  lifecycle {
    precondition {
      condition     = local.secret_values[each.key] != null
      error_message = "${each.key} has no value: set TF_VAR_openai_api_key and TF_VAR_admin_key, and TF_VAR_extra_secrets for the other secret_names."
    }
  }
}

# Reading these secrets, and no others that may come to lie in the vault.
resource "azurerm_role_assignment" "function_reads_secret" {
  for_each = var.secret_names

  scope                = azurerm_key_vault_secret.this[each.key].resource_versionless_id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = local.function_principal_id
  principal_type       = "ServicePrincipal"
}
