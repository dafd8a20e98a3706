# Logs, what they add up to, and who is told.

locals {
  # Each line that the gateway logs is a JSON object; what the host says beside it is not.
  request_lines = <<-KQL
    AppTraces
    | where Message startswith "{"
    | extend line = parse_json(Message)
    | where tostring(line.event) == "request"
  KQL
}

resource "azurerm_log_analytics_workspace" "logs" {
  name                         = local.unique_name
  resource_group_name          = azurerm_resource_group.this.name
  location                     = azurerm_resource_group.this.location
  tags                         = var.tags
  sku                          = "PerGB2018"
  retention_in_days            = var.log_retention_days
  daily_quota_gb               = var.log_daily_quota_gb
  local_authentication_enabled = false
}

resource "azurerm_application_insights" "this" {
  name                         = local.unique_name
  resource_group_name          = azurerm_resource_group.this.name
  location                     = azurerm_resource_group.this.location
  tags                         = var.tags
  application_type             = "web"
  workspace_id                 = azurerm_log_analytics_workspace.logs.id
  local_authentication_enabled = false
  sampling_percentage          = 100
}

# Writing telemetry, which is more than metrics in spite of the role's name; it reads none.
resource "azurerm_role_assignment" "function_writes_logs" {
  scope                = azurerm_application_insights.this.id
  role_definition_name = "Monitoring Metrics Publisher"
  principal_id         = local.function_principal_id
  principal_type       = "ServicePrincipal"
}

# Who read which secret, and when.
resource "azurerm_monitor_diagnostic_setting" "vault" {
  name                       = "audit"
  target_resource_id         = azurerm_key_vault.secrets.id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.logs.id

  enabled_log {
    category_group = "audit"
  }
}

resource "azurerm_monitor_action_group" "operator" {
  count = var.alarm_email == null ? 0 : 1

  name                = local.unique_name
  resource_group_name = azurerm_resource_group.this.name
  tags                = var.tags
  short_name          = substr(var.name, 0, 12)

  email_receiver {
    name                    = "operator"
    email_address           = var.alarm_email
    use_common_alert_schema = true
  }
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "errors" {
  name                    = "${var.name}-errors"
  display_name            = "${var.name}: requests fail"
  description             = "More than five requests in a quarter of an hour were answered with a 5xx, or the code crashed."
  resource_group_name     = azurerm_resource_group.this.name
  location                = azurerm_resource_group.this.location
  tags                    = var.tags
  scopes                  = [azurerm_log_analytics_workspace.logs.id]
  severity                = 1
  evaluation_frequency    = "PT15M"
  window_duration         = "PT15M"
  auto_mitigation_enabled = true
  skip_query_validation   = true # the table is made when the first line comes

  criteria {
    query                   = <<-KQL
      AppTraces
      | where Message startswith "{"
      | extend line = parse_json(Message)
      | where tostring(line.event) == "crash" or (tostring(line.event) == "request" and toint(line.status) >= 500)
    KQL
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 5
  }

  dynamic "action" {
    for_each = azurerm_monitor_action_group.operator
    content {
      action_groups = [action.value.id]
    }
  }
}

resource "azurerm_monitor_metric_alert" "store_throttled" {
  name                = "${var.name}-store-throttled"
  description         = "Cosmos DB refused requests because of their rate: a partition of it is at its limit."
  resource_group_name = azurerm_resource_group.this.name
  tags                = var.tags
  scopes              = [azurerm_cosmosdb_account.store.id]
  severity            = 2
  frequency           = "PT5M"
  window_size         = "PT15M"

  criteria {
    metric_namespace = "Microsoft.DocumentDB/databaseAccounts"
    metric_name      = "TotalRequests"
    aggregation      = "Count"
    operator         = "GreaterThan"
    threshold        = 10

    dimension {
      name     = "StatusCode"
      operator = "Include"
      values   = ["429"]
    }
  }

  dynamic "action" {
    for_each = azurerm_monitor_action_group.operator
    content {
      action_group_id = action.value.id
    }
  }
}

resource "azurerm_application_insights_workbook" "dashboard" {
  name                = uuidv5("url", "https://${local.unique_name}.azurewebsites.net")
  display_name        = var.name
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  tags                = var.tags
  source_id           = lower(azurerm_log_analytics_workspace.logs.id)

  data_json = jsonencode({
    version = "Notebook/1.0"
    items = [
      for title, query in {
        "Requests by app"              = "summarize count() by tostring(line.app), bin(TimeGenerated, 1h)"
        "Requests by endpoint"         = "summarize count() by tostring(line.endpoint), bin(TimeGenerated, 1h)"
        "Answers other than 2xx"       = "where toint(line.status) >= 400 | summarize count() by tostring(line.status), tostring(line.outcome), bin(TimeGenerated, 1h)"
        "Duration in ms, p50 and p95"  = "summarize p50 = percentile(tolong(line.duration_ms), 50), p95 = percentile(tolong(line.duration_ms), 95) by bin(TimeGenerated, 1h)"
        "Targets that gave the answer" = "summarize count() by tostring(line.target), tostring(line.model), bin(TimeGenerated, 1h)"
        } : {
        type = 3 # a query
        name = title
        content = {
          version       = "KqlItem/1.0"
          title         = title
          query         = "${local.request_lines}| ${query}"
          queryType     = 0 # of a log analytics workspace
          resourceType  = "microsoft.operationalinsights/workspaces"
          size          = 0
          timeContext   = { durationMs = 86400000 }
          visualization = "timechart"
        }
      }
    ]
    fallbackResourceIds = [azurerm_log_analytics_workspace.logs.id]
  })
}
