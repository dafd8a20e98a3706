# What the deployment promises, on the provider's schema alone: `terraform init && terraform test`.

mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = {
      object_id       = "00000000-0000-0000-0000-00000000000d"
      tenant_id       = "00000000-0000-0000-0000-00000000000e"
      subscription_id = "00000000-0000-0000-0000-00000000000a"
    }
  }
  mock_resource "azurerm_resource_group" {
    defaults = { id = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg" }
  }
  mock_resource "azurerm_service_plan" {
    defaults = { id = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.Web/serverFarms/plan" }
  }
  mock_resource "azurerm_storage_account" {
    defaults = {
      id                    = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/host"
      primary_blob_endpoint = "https://host.blob.core.windows.net/"
    }
  }
  mock_resource "azurerm_key_vault" {
    defaults = { id = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/vault" }
  }
  mock_resource "azurerm_key_vault_secret" {
    defaults = {
      versionless_id          = "https://vault.vault.azure.net/secrets/secret"
      resource_versionless_id = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/vault/secrets/secret"
    }
  }
  mock_resource "azurerm_cosmosdb_account" {
    defaults = { id = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.DocumentDB/databaseAccounts/account" }
  }
  mock_resource "azurerm_log_analytics_workspace" {
    defaults = { id = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/logs" }
  }
  mock_resource "azurerm_application_insights" {
    defaults = {
      id                = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.Insights/components/insights"
      connection_string = "InstrumentationKey=00000000-0000-0000-0000-00000000000f"
    }
  }
  mock_resource "azurerm_application_insights_workbook" {
    defaults = { id = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.Insights/workbooks/00000000-0000-0000-0000-0000000000b0" }
  }
  mock_resource "azurerm_monitor_action_group" {
    defaults = { id = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.Insights/actionGroups/operator" }
  }
  mock_resource "azurerm_function_app_flex_consumption" {
    defaults = {
      id               = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.Web/sites/app"
      default_hostname = "app.azurewebsites.net"
      identity = {
        principal_id = "00000000-0000-0000-0000-00000000000c"
        tenant_id    = "00000000-0000-0000-0000-00000000000e"
      }
    }
  }
}

variables {
  account        = "00000000-0000-0000-0000-00000000000a"
  region         = "westeurope"
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
    condition = {
      for name, value in azurerm_function_app_flex_consumption.this.app_settings : name => value
      if startswith(name, "TREFOIL_") && !contains(var.secret_names, name)
      } == {
      TREFOIL_STORE                   = "cosmos:https://${azurerm_cosmosdb_account.store.name}.documents.azure.com/trefoil/store"
      TREFOIL_REQUEST_TIMEOUT_SECONDS = "345"
    }
    error_message = "The settings must be the function's own variables."
  }
  assert {
    condition = alltrue([
      for name in var.secret_names : startswith(azurerm_function_app_flex_consumption.this.app_settings[name], "@Microsoft.KeyVault(SecretUri=https://")
    ])
    error_message = "A secret must be a Key Vault reference."
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.this.app_settings["OPENAI_ORG_ID"] == "org-x"
    error_message = "The operator's own variables must reach the function."
  }
  assert {
    condition     = azurerm_function_app_flex_consumption.this.app_settings["AzureFunctionsJobHost__functionTimeout"] == "00:05:45"
    error_message = "The host's limit must be timeout_seconds."
  }
  assert {
    condition = alltrue([
      azurerm_function_app_flex_consumption.this.http_concurrency == 20,
      azurerm_function_app_flex_consumption.this.maximum_instance_count == 3,
      azurerm_function_app_flex_consumption.this.instance_memory_in_mb == 2048,
      azurerm_function_app_flex_consumption.this.always_ready[0].instance_count == 1,
    ])
    error_message = "The limits must reach the function app."
  }
  assert {
    condition = alltrue([
      azurerm_function_app_flex_consumption.this.https_only,
      !azurerm_function_app_flex_consumption.this.webdeploy_publish_basic_authentication_enabled,
      azurerm_function_app_flex_consumption.this.storage_authentication_type == "SystemAssignedIdentity",
      !azurerm_storage_account.host.shared_access_key_enabled,
      !azurerm_cosmosdb_account.store.local_authentication_enabled,
      !azurerm_application_insights.this.local_authentication_enabled,
      azurerm_key_vault.secrets.rbac_authorization_enabled,
    ])
    error_message = "There must be no keys, and https alone."
  }
  assert {
    condition = alltrue([
      toset([for capability in azurerm_cosmosdb_account.store.capabilities : capability.name]) == toset(["EnableServerless"]),
      azurerm_cosmosdb_account.store.consistency_policy[0].consistency_level == "Session",
      length(azurerm_cosmosdb_account.store.geo_location) == 1,
      !azurerm_cosmosdb_account.store.multiple_write_locations_enabled,
      azurerm_cosmosdb_sql_container.store.partition_key_paths == tolist(["/partition"]),
      azurerm_cosmosdb_sql_container.store.default_ttl == -1,
    ])
    error_message = "The store must be the one that azure/cosmos_store.py asks for."
  }
  assert {
    condition     = endswith(azurerm_cosmosdb_sql_role_assignment.function.scope, "/dbs/trefoil")
    error_message = "The function's role in Cosmos DB must be for its one database."
  }
  assert {
    condition     = length(azurerm_management_lock.store) == 1 && length(azurerm_monitor_action_group.operator) == 1
    error_message = "Protection and alarms must be there when they are asked for."
  }
}

# It is applied for what comes after the runs, too: protected, nothing could be destroyed.
run "plain" {
  assert {
    condition     = length(azurerm_function_app_flex_consumption.this.always_ready) == 0
    error_message = "Nothing may cost anything while nothing is asked."
  }
  assert {
    condition     = length(azurerm_management_lock.store) == 0 && length(azurerm_monitor_action_group.operator) == 0
    error_message = "Protection and alarm mails come only when they are asked for."
  }
}

run "refuses_secrets_without_a_value" {
  command = plan
  variables {
    secret_names = ["OPENAI_API_KEY", "TREFOIL_ADMIN_KEY", "OTHER_API_KEY"]
  }
  expect_failures = [azurerm_key_vault_secret.this]
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

run "refuses_a_quota_of_nothing" {
  command = plan
  variables {
    log_daily_quota_gb = 0
  }
  expect_failures = [var.log_daily_quota_gb]
}
