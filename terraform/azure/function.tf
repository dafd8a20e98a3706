# The function app. Terraform makes it; push.py brings the code, for the provider's own `zip_deploy_file` does not work on
# Flex Consumption (https://github.com/hashicorp/terraform-provider-azurerm/issues/29630).

locals {
  function_principal_id = azurerm_function_app_flex_consumption.this.identity[0].principal_id
  url                   = "https://${azurerm_function_app_flex_consumption.this.default_hostname}"

  store_settings = {
    TREFOIL_STORE                   = "cosmos:https://${azurerm_cosmosdb_account.store.name}.documents.azure.com/${azurerm_cosmosdb_sql_database.trefoil.name}/${azurerm_cosmosdb_sql_container.store.name}"
    TREFOIL_REQUEST_TIMEOUT_SECONDS = tostring(var.timeout_seconds)
  }

  # App Service gives the function the secret for the reference, through the system-assigned identity: this resource has no
  # argument for another one (https://github.com/hashicorp/terraform-provider-azurerm/issues/28928).
  secret_settings = {
    for name in var.secret_names : name => "@Microsoft.KeyVault(SecretUri=${azurerm_key_vault_secret.this[name].versionless_id})"
  }

  platform_settings = {
    # The host's storage by identity. Unless it is set to nothing, the provider adds a connection string without a key, on
    # which the host fails (https://github.com/hashicorp/terraform-provider-azurerm/issues/29693).
    AzureWebJobsStorage              = ""
    AzureWebJobsStorage__accountName = azurerm_storage_account.host.name
    AzureWebJobsStorage__credential  = "managedidentity"

    APPLICATIONINSIGHTS_AUTHENTICATION_STRING = "Authorization=AAD"

    AzureFunctionsJobHost__functionTimeout = format(
      "%02d:%02d:%02d", floor(var.timeout_seconds / 3600), floor(var.timeout_seconds / 60) % 60, var.timeout_seconds % 60
    )
    # By default the host throws log lines away beyond twenty a second; each line here is a request.
    AzureFunctionsJobHost__logging__applicationInsights__samplingSettings__isEnabled = "false"
  }
}

# Where the host keeps its own things, and the code lies.
resource "azurerm_storage_account" "host" {
  #checkov:skip=CKV_AZURE_33:there are no queues
  #checkov:skip=CKV_AZURE_206:the code can be pushed again at any time
  #checkov:skip=CKV_AZURE_59:Azure's deployment service writes the code from outside of any network of ours; identities with a role only
  #checkov:skip=CKV2_AZURE_33:as above
  #checkov:skip=CKV2_AZURE_1:Microsoft's keys encrypt it at rest; a key of one's own is a matter of the organisation's policy
  #checkov:skip=CKV2_AZURE_38:the code can be pushed again at any time
  #checkov:skip=CKV2_AZURE_21:who reads the code is of no interest
  name                            = substr(replace(local.unique_name, "-", ""), 0, 24)
  resource_group_name             = azurerm_resource_group.this.name
  location                        = azurerm_resource_group.this.location
  tags                            = var.tags
  account_tier                    = "Standard"
  account_replication_type        = "LRS"
  min_tls_version                 = "TLS1_2"
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  allow_nested_items_to_be_public = false
  local_user_enabled              = false
  https_traffic_only_enabled      = true
}

resource "azurerm_storage_container" "code" {
  #checkov:skip=CKV2_AZURE_21:who reads the code is of no interest
  name                  = "code"
  storage_account_id    = azurerm_storage_account.host.id
  container_access_type = "private"
}

# The host asks for this role, and has the account for itself.
resource "azurerm_role_assignment" "function_uses_storage" {
  scope                = azurerm_storage_account.host.id
  role_definition_name = "Storage Blob Data Owner"
  principal_id         = local.function_principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_service_plan" "flex" {
  #checkov:skip=CKV_AZURE_212:Flex Consumption makes as many instances as are needed, or always_ready asks for
  #checkov:skip=CKV_AZURE_225:in one zone; zones cost a minimum of instances that are always there
  name                = local.unique_name
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  tags                = var.tags
  os_type             = "Linux"
  sku_name            = "FC1"
}

resource "azurerm_function_app_flex_consumption" "this" {
  name                = local.unique_name
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  tags                = var.tags
  service_plan_id     = azurerm_service_plan.flex.id

  runtime_name           = "python"
  runtime_version        = "3.13"
  instance_memory_in_mb  = var.memory_mb
  maximum_instance_count = coalesce(var.max_instances, 100)
  http_concurrency       = var.concurrency

  dynamic "always_ready" {
    for_each = var.min_instances > 0 ? [var.min_instances] : []
    content {
      name           = "http"
      instance_count = always_ready.value
    }
  }

  storage_container_type      = "blobContainer"
  storage_container_endpoint  = "${azurerm_storage_account.host.primary_blob_endpoint}${azurerm_storage_container.code.name}"
  storage_authentication_type = "SystemAssignedIdentity"

  https_only                                     = true
  webdeploy_publish_basic_authentication_enabled = false # push.py comes with an Entra token

  identity {
    type = "SystemAssigned"
  }

  site_config {
    application_insights_connection_string = azurerm_application_insights.this.connection_string
    http2_enabled                          = true
    minimum_tls_version                    = "1.2"
    scm_minimum_tls_version                = "1.2"
  }

  app_settings = merge(var.environment, local.store_settings, local.secret_settings, local.platform_settings)
}
