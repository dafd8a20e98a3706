output "url" {
  description = "Where the service answers, without a slash at the end."
  value       = local.url
}

output "openai_base_url" {
  description = "What client apps give their OpenAI SDK as base_url."
  value       = "${local.url}/v1"
}

output "function_name" {
  description = "The function app's name."
  value       = azurerm_function_app_flex_consumption.this.name
}

output "function_id" {
  description = "The function app's resource id, which push.py needs."
  value       = azurerm_function_app_flex_consumption.this.id
}

output "create_first_key_command" {
  description = "Makes an app named first, and a key of it, which is shown once. The admin key is read from TF_VAR_admin_key."
  value = join(" && ", [for path, body in { "/manage/apps" = { id = "first" }, "/manage/apps/first/keys" = {} } :
    "curl --fail-with-body -sS ${local.url}${path} -H \"Authorization: Bearer $TF_VAR_admin_key\" -H 'Content-Type: application/json' -d '${jsonencode(body)}'"
  ])
}

output "logs_url" {
  description = "The logs in Azure's portal."
  value       = "https://portal.azure.com/#@${data.azurerm_client_config.deployer.tenant_id}/resource${azurerm_log_analytics_workspace.logs.id}/logs"
}

output "dashboard_url" {
  description = "The dashboard in Azure's portal."
  value       = "https://portal.azure.com/#@${data.azurerm_client_config.deployer.tenant_id}/resource${azurerm_application_insights_workbook.dashboard.id}/workbook"
}
